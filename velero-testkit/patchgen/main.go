// Command patchgen writes patches and what the libraries of Velero make of them: the truth that the tests of
// velero-core's resource modifiers compare with. One JSON object a line; "error" where the library refuses.
//
// Usage: go run . > ../../velero-core/src/modifier/tests/peer.jsonl
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

type object = map[string]any

// outcome is a line: "sort" says which library. "error" is "test" where only a test failed, "panic" where the library
// did, "empty" where it refuses to order a list without elements, else "refused".
type outcome struct {
	Sort   string `json:"sort"`
	Kind   string `json:"kind,omitempty"`
	Object any    `json:"object"`
	Patch  any    `json:"patch"`
	Result any    `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

var random = rand.New(rand.NewSource(18))

func pick[T any](of ...T) T { return of[random.Intn(len(of))] }

func copied(v any) any {
	raw, err := json.Marshal(v)
	check(err)
	var out any
	check(json.Unmarshal(raw, &out))
	return out
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// value is a small document.
func value(depth int) any {
	switch n := random.Intn(8); {
	case depth > 0 && n < 3:
		out := object{}
		for range random.Intn(3) {
			out[pick("a", "b", "c/d")] = value(depth - 1)
		}
		return out
	case depth > 0 && n < 5:
		out := []any{}
		for range random.Intn(4) {
			out = append(out, value(depth-1))
		}
		return out
	default:
		return pick[any](1, 2, "x", "1", true, nil, -1.5)
	}
}

// place is a pointer, often to something that is there.
func place(in any, depth int) string {
	switch in := in.(type) {
	case object:
		key := pick("a", "b", "c/d")
		escaped := map[string]string{"a": "/a", "b": "/b", "c/d": "/c~1d"}[key]
		if next, ok := in[key]; ok && depth > 0 && random.Intn(3) > 0 {
			return escaped + place(next, depth-1)
		}
		return escaped
	case []any:
		at := random.Intn(len(in)+3) - 1
		text := pick(fmt.Sprint(at), fmt.Sprint(at), fmt.Sprint(at), fmt.Sprint(-at-1), fmt.Sprintf("0%d", at), "-", "a")
		if at >= 0 && at < len(in) && depth > 0 && random.Intn(3) > 0 {
			return fmt.Sprintf("/%d", at) + place(in[at], depth-1)
		}
		return "/" + text
	default:
		return pick("/a", "/0")
	}
}

func jsonPatch() outcome {
	top := object{}
	for range 1 + random.Intn(3) {
		top[pick("a", "b", "c/d")] = value(3)
	}
	doc := copied(top)
	var steps []any
	for range 1 + random.Intn(2) {
		step := object{"op": pick("add", "add", "remove", "replace", "test", "test", "move", "copy"), "path": place(doc, 3)}
		switch step["op"] {
		case "move", "copy":
			step["from"] = place(doc, 3)
		case "add", "replace", "test":
			step["value"] = value(1)
		}
		if step["op"] == "test" && random.Intn(2) == 0 {
			// One that passes, as often as not.
			if found, ok := find(doc, step["path"].(string)); ok {
				step["value"] = found
			}
		}
		steps = append(steps, step)
	}
	out := outcome{Sort: "json", Object: doc, Patch: steps}
	raw, err := json.Marshal(steps)
	check(err)
	patch, err := jsonpatch.DecodePatch(raw)
	check(err)
	before, err := json.Marshal(doc)
	check(err)
	after, err := apply(patch, before)
	if errors.Is(err, jsonpatch.ErrTestFailed) {
		out.Error = "test"
	} else if err != nil {
		out.Error = "refused"
		if strings.HasPrefix(err.Error(), "panic") {
			out.Error = "panic"
		}
	} else {
		check(json.Unmarshal(after, &out.Result))
	}
	return out
}

func apply(patch jsonpatch.Patch, doc []byte) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return patch.Apply(doc)
}

func find(doc any, path string) (any, bool) {
	raw, err := json.Marshal([]object{{"op": "copy", "from": path, "path": "/found"}})
	check(err)
	patch, err := jsonpatch.DecodePatch(raw)
	check(err)
	before, err := json.Marshal(doc)
	check(err)
	after, err := apply(patch, before)
	if err != nil {
		return nil, false
	}
	var out object
	check(json.Unmarshal(after, &out))
	return out["found"], true
}

func mergePatch() outcome {
	before, patch := object{}, object{}
	for range 3 {
		before[pick("a", "b", "c/d")] = value(3)
		patch[pick("a", "b", "c/d")] = value(3)
	}
	out := outcome{Sort: "merge", Object: copied(before), Patch: copied(patch)}
	raw, err := json.Marshal(before)
	check(err)
	rawPatch, err := json.Marshal(patch)
	check(err)
	after, err := jsonpatch.MergePatch(raw, rawPatch)
	check(err)
	check(json.Unmarshal(after, &out.Result))
	return out
}

func some(most int, make func(int) any) []any {
	out := []any{}
	for _, at := range random.Perm(most)[:random.Intn(most+1)] {
		out = append(out, make(at))
	}
	return out
}

func names(most int) []any {
	return some(most, func(at int) any { return fmt.Sprint("n", at) })
}

// containers of a pod; those of a patch have directives too.
func containers(inPatch bool) []any {
	return some(4, func(at int) any {
		out := object{"name": fmt.Sprint("n", at)}
		if inPatch && random.Intn(5) == 0 {
			out["$patch"] = pick("delete", "delete", "replace")
			return out
		}
		if random.Intn(2) == 0 {
			out["image"] = pick("x", "y")
		}
		if random.Intn(2) == 0 {
			out["args"] = names(3)
		}
		if random.Intn(2) == 0 {
			out["env"] = some(3, func(at int) any { return object{"name": fmt.Sprint("E", at), "value": pick("1", "2")} })
		}
		if random.Intn(3) == 0 {
			out["ports"] = some(3, func(at int) any { return object{"containerPort": 80 + at, "protocol": pick("TCP", "UDP")} })
		}
		return out
	})
}

func finalizers() []any { return names(4) }

// order is one for a list that holds these names: mostly one that has them all, in their order.
func order(list []any) []any {
	out := []any{}
	for _, name := range list {
		if random.Intn(10) > 0 {
			out = append(out, name)
		}
	}
	for _, name := range names(4) {
		if at := random.Intn(len(out) + 1); !slices.Contains(out, name) {
			out = slices.Insert(out, at, name)
		}
	}
	if len(out) == 0 {
		return []any{"n0"}
	}
	return out
}

func strategic() outcome {
	template := func(inPatch bool) object {
		spec := object{"containers": containers(inPatch), "nodeSelector": object{pick("a", "b"): pick("1", "2")}}
		if random.Intn(2) == 0 {
			spec["volumes"] = some(2, func(at int) any {
				volume := object{"name": fmt.Sprint("v", at)}
				source := pick("emptyDir", "hostPath")
				volume[source] = map[string]any{"emptyDir": object{}, "hostPath": object{"path": "/x"}}[source]
				if inPatch && random.Intn(2) == 0 {
					volume["$retainKeys"] = pick([]any{"name", source}, []any{"name"}, []any{"name", source, "other"})
				}
				return volume
			})
		}
		return spec
	}
	before := template(false)
	patch := template(true)
	if random.Intn(2) == 0 {
		patch["nodeSelector"] = pick[any](object{"$patch": "delete"}, object{"$patch": "replace", "c": "3"}, object{"a": nil}, nil)
	}
	if random.Intn(2) == 0 {
		list := []any{}
		for _, element := range patch["containers"].([]any) {
			if element.(object)["$patch"] == nil {
				list = append(list, element.(object)["name"])
			}
		}
		list = order(list)
		for at, name := range list {
			list[at] = object{"name": name}
		}
		patch["$setElementOrder/containers"] = list
	}
	wholeBefore := object{"metadata": object{"finalizers": finalizers()}, "spec": before}
	metadata := object{}
	switch random.Intn(4) {
	case 0:
		metadata["finalizers"] = finalizers()
	case 1:
		metadata["$deleteFromPrimitiveList/finalizers"] = finalizers()
	case 2:
		list := finalizers()
		metadata["$setElementOrder/finalizers"] = order(list)
		metadata["finalizers"] = list
	}
	wholePatch := object{"metadata": metadata, "spec": patch}
	kind, schema := "Pod", any(corev1.Pod{})
	if random.Intn(3) == 0 {
		kind, schema = "Deployment", appsv1.Deployment{}
		strategy := object{"type": "RollingUpdate", "rollingUpdate": object{"maxSurge": 1}}
		change := pick[any](object{"type": "Recreate", "$retainKeys": []any{"type"}}, object{"rollingUpdate": nil}, object{"type": "x", "$retainKeys": []any{}})
		wholeBefore["spec"] = object{"strategy": strategy, "template": object{"spec": before}}
		wholePatch["spec"] = object{"strategy": change, "template": object{"spec": patch}}
	}
	out := outcome{Sort: "strategic", Kind: kind, Object: copied(wholeBefore), Patch: copied(wholePatch)}
	raw, err := json.Marshal(wholeBefore)
	check(err)
	rawPatch, err := json.Marshal(wholePatch)
	check(err)
	after, err := strategicpatch.StrategicMergePatch(raw, rawPatch, schema)
	if err != nil {
		out.Error = "refused"
		if strings.HasPrefix(err.Error(), "no elements") {
			out.Error = "empty"
		}
	} else {
		check(json.Unmarshal(after, &out.Result))
	}
	return out
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	write := func(make func() outcome, count int) {
		for range count {
			line, err := json.Marshal(make())
			check(err)
			_, err = fmt.Fprintln(out, string(line))
			check(err)
		}
	}
	write(jsonPatch, 300)
	write(mergePatch, 60)
	write(strategic, 150)
	check(out.Flush())
}
