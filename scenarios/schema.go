package scenarios

import (
	"encoding/json"
	"maps"

	"github.com/vdevil/vdevil/lab/ops"
)

// shape is a part of a JSON Schema.
type shape map[string]any

// single is one value: of a body it may be a var, whatever it stands for.
var single = shape{"type": []string{"string", "number", "boolean"}}

func oneWord(words ...string) shape {
	return shape{"anyOf": []shape{{"enum": words}, {"type": "string", "pattern": `\$\{`}}}
}

// wordsOf are a list of some words, or one value that holds them.
func wordsOf(one shape) shape {
	return shape{"anyOf": []shape{{"type": "array", "items": one}, single}}
}

// settingsOf are names that the file gives, each with a value.
func settingsOf(one shape) shape { return shape{"type": "object", "additionalProperties": one} }

// object has no other keys than these, and of them all that it needs.
func object(title string, keys map[string]shape, needs ...string) shape {
	o := shape{"title": title, "type": "object", "properties": keys, "additionalProperties": false}
	if len(needs) > 0 {
		o["required"] = needs
	}
	return o
}

// singles are keys with one value each, and others.
func singles(others map[string]shape, keys ...string) map[string]shape {
	all := map[string]shape{}
	for _, k := range keys {
		all[k] = single
	}
	maps.Copy(all, others)
	return all
}

// stepShapes are what stands behind the words of steps, of those that take more than one value.
func stepShapes() map[string]shape {
	steps := shape{"$ref": "#/$defs/steps"}
	features := ops.Features()
	return map[string]shape{
		"parameter":      settingsOf(single),
		"write":          object("write", singles(nil, "file", "size", "content", "count"), "file", "size", "content"),
		"remove":         wordsOf(single),
		"churn":          object("churn", singles(nil, "dataset", "files", "for", "writes"), "dataset", "files"),
		"snapshot-storm": object("snapshot-storm", singles(nil, "dataset", "for", "snapshots", "keep"), "dataset", "keep"),
		"auto-snapshot":  object("auto-snapshot", singles(nil, "label", "keep", "times"), "label", "keep", "times"),
		"cron":           object("cron", singles(map[string]shape{"jobs": settingsOf(single)}, "for"), "for"),
		"generate":       object("generate", singles(map[string]shape{"features": wordsOf(shape{"enum": features})}, "count", "draw"), "count", "features"),
		"together":       steps,
		"holds":          object("holds", singles(nil, "file", "as", "count"), "file", "as"),
		"panic":          steps,
	}
}

// aStep is a bare word, or a word with what it takes.
func aStep() shape {
	takes := stepShapes()
	var bare []string
	all := []shape{nil}
	for _, k := range kinds {
		if k.form == "- "+k.word {
			bare = append(bare, k.word)
			continue
		}
		arg, ok := takes[k.word]
		if !ok {
			arg = single
		}
		o := object(k.word, map[string]shape{k.word: arg}, k.word)
		o["description"] = k.form
		all = append(all, o)
	}
	all[0] = shape{"enum": bare}
	return shape{"anyOf": all}
}

// faultShapes are what stands behind the words of faults.
func faultShapes() map[string]shape {
	when := settingsOf(single)
	flip := object("flip", singles(nil, "bits", "adjacent", "bit"))
	bytes := func(title string) shape { return object(title, singles(nil, "bytes"), "bytes") }
	bits := func(title string) shape { return object(title, singles(nil, "bits"), "bits") }
	actions := make([]string, len(deviceActions))
	for i, a := range deviceActions {
		actions[i] = a.word
	}
	return map[string]shape{
		"blkptr-dva-flip": object("blkptr-dva-flip", singles(nil, "at", "after"), "at", "after"),
		"vdev-bitrot":     object("vdev-bitrot", singles(map[string]shape{"disks": wordsOf(single)}, "extents", "bytes"), "disks", "extents", "bytes"),
		"vdev": object("vdev", singles(map[string]shape{
			"class": oneWord(vdevClasses...), "copies": oneWord("one", "all"),
			"flip": bits("flip"), "zero": bytes("zero"), "garbage": bytes("garbage"),
		}, "dataset", "blocks", "disk", "offset")),
		"forge": object("forge", singles(map[string]shape{"name": oneWord(Forgeries()...)}, "dataset", "file"), "name"),
		"memory": object("memory", singles(map[string]shape{
			"when": when, "target": wordsOf(single), "flip": flip, "ecc": oneWord("none", "secded", "chipkill"),
			"rate":  object("rate", singles(nil, "fit_per_mbit", "time_scale"), "time_scale"),
			"part":  object("part", singles(map[string]shape{"preset": oneWord("jaguar-ddr2"), "mode": oneWord(modes...)}, "lasting", "every")),
			"stuck": object("stuck", singles(nil, "bit", "value", "every"), "value", "every"),
			"write": bytes("write"), "copy": object("copy", singles(nil, "from"), "from"), "row": bits("row"),
		}, "at", "hit", "class")),
		"register": object("register", singles(map[string]shape{"when": when, "register": oneWord(registers...)}, "at", "hit", "argument", "bit"), "at", "bit"),
		"hold":     object("hold", singles(map[string]shape{"when": when, "in": wordsOf(single)}, "at", "hit", "arrivals", "for", "until"), "for"),
		"device": object("device", singles(map[string]shape{
			"disks": wordsOf(single), "do": oneWord(actions...), "op": oneWord("read", "write", "flush", "trim", "zero"), "class": oneWord(vdevClasses...),
		}, "sectors", "by", "writes", "late", "for", "cache", "keep", "dataset", "nth", "times", "probability"), "disks", "do"),
	}
}

// Schema is a JSON Schema (2020-12) of the files of scenarios, for editors: which keys and words can stand where. Parse knows more, what
// goes together and what is possible.
func Schema() ([]byte, error) {
	verdict := shape{"enum": []Verdict{Reproduces, DoesNotReproduce}}
	expect := func(title string, more map[string]shape, needs ...string) shape {
		keys := map[string]shape{
			"verdict": verdict, "signature": single, "outcome": wordsOf(shape{"enum": outcomes}), "text": single, "rate": single,
			"outcomes": settingsOf(shape{"enum": outcomes}),
		}
		maps.Copy(keys, more)
		return object(title, keys, needs...)
	}
	versions := shape{
		"type": "object", "additionalProperties": false,
		"patternProperties": shape{versionsForm.String(): shape{"anyOf": []shape{verdict, expect("expect of a version", nil, "verdict")}}},
	}
	axis := settingsOf(shape{"anyOf": []shape{settingsOf(single), {"type": "null"}}})
	fault := object("fault", faultShapes())
	fault["minProperties"], fault["maxProperties"] = 1, 1
	list := func(one shape) shape { return shape{"type": "array", "items": one, "minItems": 1} }
	root := object("scenario", map[string]shape{
		"name": single, "question": single, "claim": single,
		"cause": {"enum": []Cause{Software, Memory, Disk}}, "cost": {"enum": []Cost{Fast, Nightly}},
		"zfs":     {"anyOf": []shape{object("zfs", singles(nil, "since", "until")), wordsOf(single)}},
		"default": {"type": "boolean"},
		"machine": object("machine", singles(map[string]shape{"disks": settingsOf(single), "clock": {"enum": []Clock{Counted}}}, "cpus", "memory"), "cpus", "memory", "disks"),
		"files":   settingsOf(shape{"anyOf": []shape{single, object("file", singles(nil, "gzip"), "gzip")}}), "vars": settingsOf(single),
		"pool":    object("pool", singles(map[string]shape{"options": settingsOf(single), "properties": settingsOf(single)}, "name", "layout"), "name", "layout"),
		"prepare": {"$ref": "#/$defs/steps"}, "workload": {"$ref": "#/$defs/steps"}, "fault": fault, "matrix": list(axis),
		"arms": list(object("arm", singles(map[string]shape{
			"control": {"type": "boolean"}, "withhold": {"type": "boolean"}, "vars": settingsOf(single),
		}, "name", "trials"), "name")),
		"no_control": single, "trials": single, "limit": single,
		"expect": expect("expect", map[string]shape{"versions": versions}, "verdict", "rate"),
	}, "name", "question", "cause", "cost", "machine", "pool", "workload", "trials", "limit", "expect")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$defs"] = shape{"steps": list(aStep())}
	text, err := json.MarshalIndent(root, "", "  ")
	return append(text, '\n'), err
}
