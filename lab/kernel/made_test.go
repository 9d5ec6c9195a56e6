package kernel

import "testing"

func TestMadeTypes(t *testing.T) {
	types := &Types{db: database{
		Nodes: []node{{}, {Kind: Int, Name: "long unsigned int", Size: 8}, {Kind: Typedef, Name: "uint64_t", Elem: 1}},
		Names: map[string]int32{"uint64_t": 2},
	}}
	word, err := types.Named("uint64_t")
	if err != nil {
		t.Fatal(err)
	}
	entry := func() Type {
		return types.StructOf("entry", 16, Field{Name: "run", Type: word, BitSize: 15}, Field{Name: "type", Type: word, Offset: 1, BitOffset: 7, BitSize: 1},
			Field{Name: "rest", Type: types.ArrayOf(word, 1), Offset: 8})
	}
	all := types.ArrayOf(entry(), 3)
	if all != types.ArrayOf(entry(), 3) || all == types.ArrayOf(entry(), 4) {
		t.Error("types made alike are not the same, or others are")
	}
	if all.Size() != 48 || all.Len() != 3 || all.Elem().String() != "struct entry" {
		t.Errorf("%s of %d bytes", all, all.Size())
	}
	for bit, want := range map[int]string{0: "[0].run", 15: "[0].type", 16: "[0]." + Padding, 128 + 64 + 3: "[1].rest[0]"} {
		if got := FieldAt(all, bit); got != want {
			t.Errorf("bit %d is %s instead of %s", bit, got, want)
		}
	}
}
