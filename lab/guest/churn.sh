# DATASET FILES MILLISECONDS SEED
mountpoint "$1"; folder=$REPLY
now
churn "$folder" "$2" $((REPLY + $3 * 1000)) "$4"
