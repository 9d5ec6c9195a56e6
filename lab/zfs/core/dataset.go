package core

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/vdevil/vdevil/lab/kernel"
)

// dataset is a dsl_dataset_t.
type dataset struct {
	value  kernel.Value
	name   string
	number uint64
}

// datasets are those of a pool that are in memory: each is the user of the bonus buffer of its object in the MOS.
func (z *ZFS) datasets(spa kernel.Value) ([]dataset, error) {
	b, err := z.allBuffers()
	if err != nil {
		return nil, err
	}
	dmu, err := z.dmuTypes()
	if err != nil {
		return nil, err
	}
	t, err := z.typed("dsl_dataset_t")
	if err != nil {
		return nil, err
	}
	user, ok := t.Field("ds_dbu")
	if !ok {
		return nil, fmt.Errorf("dsl_dataset_t has no ds_dbu: %w", kernel.ErrUnknown)
	}
	var out []dataset
	for _, os := range b.sets {
		if os.spa.Addr() != spa.Addr() || os.number != 0 {
			continue
		}
		nodes, err := z.dnodes(os)
		if err != nil {
			return nil, err
		}
		for _, dn := range nodes {
			if dmu.name(dn.bonusType) != "DMU_OT_DSL_DATASET" {
				continue
			}
			bonus, err := z.bonus(dn)
			if err != nil || bonus == nil {
				if err != nil {
					return nil, err
				}
				continue
			}
			addr, err := bonus.value.Field("db_user").Uint()
			if err != nil {
				return nil, err
			}
			if addr == 0 {
				continue
			}
			ds, err := newDataset(z.view.At(t, addr-uint64(user.Offset), ""), spa)
			if err != nil {
				return nil, fmt.Errorf("dataset of %s: %w", dn.value.Path(), err)
			}
			out = append(out, ds)
		}
	}
	return out, nil
}

func newDataset(v, spa kernel.Value) (dataset, error) {
	name, named, err := dsName(v)
	if err != nil {
		return dataset{}, err
	}
	number, err := v.Field("ds_object").Uint()
	arg := strconv.FormatUint(number, 10)
	if named {
		arg = strconv.Quote(name)
	}
	return dataset{v.Rename(fmt.Sprintf("%s.dataset(%s)", spa.Path(), arg)), name, number}, err
}

// datasetCall is spa.dataset("name").
func (z *ZFS) datasetCall(from place, args []argument) (place, error) {
	all, err := z.datasets(from.Value)
	if err != nil {
		return from, err
	}
	var names []string
	for _, ds := range all {
		if named(args, ds.name, ds.number) {
			return place{Value: ds.value}, nil
		}
		names = append(names, strconv.Quote(ds.name))
	}
	if len(args) != 1 {
		return from, errors.New("dataset wants one name or number")
	}
	return from, absent("no dataset %s in memory; there %s", args[0], are(names))
}
