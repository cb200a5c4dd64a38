// Command typegen writes ../src/schema/types.txt, the table of Kubernetes types that the
// in-process API server works from: field names, Go zero-value behaviour, list and map kinds, merge keys,
// protobuf field numbers.
//
// Usage: go run . PATH-TO-swagger.json > ../src/schema/types.txt
// (swagger.json is api/openapi-spec/swagger.json of the k8s.io/kubernetes module).
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

var roots = []any{
	corev1.Pod{}, corev1.Service{}, corev1.Endpoints{}, corev1.ConfigMap{}, corev1.Secret{}, corev1.PersistentVolume{},
	corev1.PersistentVolumeClaim{}, corev1.ServiceAccount{}, corev1.Namespace{}, corev1.Node{}, corev1.Event{}, corev1.LimitRange{},
	corev1.ResourceQuota{}, corev1.ReplicationController{}, corev1.PodTemplate{}, corev1.Binding{},
	appsv1.Deployment{}, appsv1.ReplicaSet{}, appsv1.StatefulSet{}, appsv1.DaemonSet{}, appsv1.ControllerRevision{},
	batchv1.Job{}, batchv1.CronJob{},
	rbacv1.Role{}, rbacv1.RoleBinding{}, rbacv1.ClusterRole{}, rbacv1.ClusterRoleBinding{},
	storagev1.StorageClass{}, storagev1.CSIDriver{}, storagev1.CSINode{}, storagev1.VolumeAttachment{}, storagev1.CSIStorageCapacity{},
	storagev1.VolumeAttributesClass{},
	schedulingv1.PriorityClass{},
	networkingv1.Ingress{}, networkingv1.NetworkPolicy{}, networkingv1.IngressClass{}, networkingv1.IPAddress{}, networkingv1.ServiceCIDR{},
	policyv1.PodDisruptionBudget{}, policyv1.Eviction{},
	autoscalingv1.Scale{}, autoscalingv2.HorizontalPodAutoscaler{},
	admissionregistrationv1.MutatingWebhookConfiguration{}, admissionregistrationv1.ValidatingWebhookConfiguration{},
	admissionregistrationv1.ValidatingAdmissionPolicy{}, admissionregistrationv1.ValidatingAdmissionPolicyBinding{},
	apiextensionsv1.CustomResourceDefinition{},
	apiregistrationv1.APIService{},
	coordinationv1.Lease{},
	discoveryv1.EndpointSlice{},
	eventsv1.Event{},
	flowcontrolv1.FlowSchema{}, flowcontrolv1.PriorityLevelConfiguration{},
	certificatesv1.CertificateSigningRequest{},
	authorizationv1.SelfSubjectAccessReview{}, authorizationv1.SelfSubjectRulesReview{}, authorizationv1.SubjectAccessReview{},
	authorizationv1.LocalSubjectAccessReview{}, authenticationv1.TokenReview{}, authenticationv1.SelfSubjectReview{}, authenticationv1.TokenRequest{},
	metav1.DeleteOptions{},
}

var swagger struct {
	Definitions map[string]map[string]any `json:"definitions"`
}

var out = bufio.NewWriter(os.Stdout)
var done = map[reflect.Type]bool{}
var queue []reflect.Type

func fullName(t reflect.Type) string {
	p := t.PkgPath()
	p = strings.Replace(p, "k8s.io/apiextensions-apiserver/", "io.k8s.apiextensions-apiserver/", 1)
	p = strings.Replace(p, "k8s.io/kube-aggregator/", "io.k8s.kube-aggregator/", 1)
	p = strings.Replace(p, "k8s.io/apimachinery/", "io.k8s.apimachinery/", 1)
	p = strings.Replace(p, "k8s.io/api/", "io.k8s.api/", 1)
	p = strings.ReplaceAll(p, "io.io.", "io.")
	return strings.ReplaceAll(p, "/", ".") + "." + t.Name()
}

func short(t reflect.Type) string {
	n := fullName(t)
	parts := strings.Split(n, ".")
	if len(parts) < 3 {
		return n
	}
	return strings.Join(parts[len(parts)-3:], ".")
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

func typeExpr(t reflect.Type, prop map[string]any) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch short(t) {
	case "api.resource.Quantity":
		return "q"
	case "util.intstr.IntOrString":
		return "x"
	case "meta.v1.Time":
		return "t"
	case "meta.v1.MicroTime":
		return "u"
	case "meta.v1.Duration":
		return "s"
	case "pkg.runtime.RawExtension", "meta.v1.FieldsV1", "apiextensions.v1.JSON", "pkg.runtime.Object":
		return "a"
	case "apiextensions.v1.JSONSchemaPropsOrBool", "apiextensions.v1.JSONSchemaPropsOrArray", "apiextensions.v1.JSONSchemaPropsOrStringArray":
		return "a"
	case "apiextensions.v1.JSONSchemaProps":
		return "a"
	}
	switch t.Kind() {
	case reflect.String:
		return "s"
	case reflect.Bool:
		return "b"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Uint8:
		return "i"
	case reflect.Float64:
		return "n"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "y"
		}
		items, _ := prop["items"].(map[string]any)
		kind := "a"
		switch str(prop["x-kubernetes-list-type"]) {
		case "set":
			kind = "s"
		case "map":
			var keys []string
			for _, k := range prop["x-kubernetes-list-map-keys"].([]any) {
				keys = append(keys, k.(string))
			}
			kind = "m:" + strings.Join(keys, ",")
		case "":
			// structured-merge-diff falls back to the patch strategy.
			if strings.Contains(str(prop["x-kubernetes-patch-strategy"]), "merge") {
				if k := str(prop["x-kubernetes-patch-merge-key"]); k != "" {
					kind = "m:" + k
				} else {
					kind = "s"
				}
			}
		}
		return "[" + kind + "]" + typeExpr(t.Elem(), items)
	case reflect.Map:
		add, _ := prop["additionalProperties"].(map[string]any)
		kind := "g"
		if str(prop["x-kubernetes-map-type"]) == "atomic" {
			kind = "a"
		}
		return "{" + kind + "}" + typeExpr(t.Elem(), add)
	case reflect.Struct:
		queue = append(queue, t)
		if str(prop["x-kubernetes-map-type"]) == "atomic" {
			return "#!" + short(t)
		}
		return "#" + short(t)
	case reflect.Interface:
		return "a"
	}
	panic(fmt.Sprint("unhandled ", t))
}

// spelled is the type of a field that is one value in JSON but a message of its own in protobuf: the schemas of
// custom resources. Empty for all others.
func spelled(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if strings.HasPrefix(short(t), "apiextensions.v1.JSONSchemaProps") {
		queue = append(queue, t)
		return "#" + short(t)
	}
	prefix := ""
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		prefix = "[a]"
	case t.Kind() == reflect.Map:
		prefix = "{g}"
	default:
		return ""
	}
	if elem := spelled(t.Elem()); elem != "" {
		return prefix + elem
	}
	return ""
}

// number is the protobuf field number of a tag; empty when the field is not sent in protobuf.
func number(f reflect.StructField) string {
	parts := strings.Split(f.Tag.Get("protobuf"), ",")
	if len(parts) < 2 {
		return ""
	}
	return parts[1]
}

// wire is the last word of a field's line. The wire form follows from the Go type, as in the generated code; what the
// tags say of it is wrong in places.
func wire(f reflect.StructField, path string) string {
	t := f.Type
	for t.Kind() == reflect.Pointer || (t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8) {
		t = t.Elem()
	}
	word := " =" + path
	switch t.Kind() {
	case reflect.Int, reflect.Int64, reflect.Uint64:
		word += "l"
	case reflect.Uint32, reflect.Uint8, reflect.Float32:
		panic(fmt.Sprint("no wire form for ", f.Name, " of type ", t))
	}
	if short(t) == "meta.v1.Duration" {
		panic(fmt.Sprint("no wire form for ", f.Name, " of type ", t))
	}
	if s := spelled(f.Type); s != "" {
		word += ":" + s
	}
	return word
}

// fields appends one line for each field of t. An embedded struct that protobuf knows is a message whose fields JSON has
// among those of t: their numbers are paths. One that protobuf does not know (TypeMeta) has no numbers.
func fields(t reflect.Type, props map[string]any, prefix string, numbered bool, lines *[]string) {
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		parts := strings.Split(tag, ",")
		own := number(f)
		inline := f.Anonymous && (parts[0] == "")
		if inline {
			ft := f.Type
			if ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			fields(ft, props, prefix+own+".", numbered && own != "", lines)
			continue
		}
		if parts[0] == "" && own != "" {
			parts[0] = f.Name
		}
		if parts[0] == "" || parts[0] == "-" {
			continue
		}
		flags := ""
		for _, p := range parts[1:] {
			if p == "omitempty" {
				flags += "?"
			}
			if p == "omitzero" {
				flags += "!"
			}
		}
		if f.Type.Kind() == reflect.Pointer {
			flags += "*"
		}
		prop, _ := props[parts[0]].(map[string]any)
		expr := typeExpr(f.Type, prop)
		strategy := f.Tag.Get("patchStrategy")
		if strings.Contains(strategy, "retainKeys") {
			flags += "^"
		}
		if strategy == "replace" {
			flags += "~"
		}
		if strings.Contains(strategy, "merge") {
			flags += "@" + f.Tag.Get("patchMergeKey")
		}
		line := parts[0] + " " + strings.TrimSpace(expr+" "+flags)
		if numbered && own != "" {
			line += wire(f, prefix+own)
		}
		*lines = append(*lines, line)
	}
}

func emit(t reflect.Type) {
	if done[t] {
		return
	}
	done[t] = true
	def := swagger.Definitions[fullName(t)]
	if def == nil {
		fmt.Fprintln(os.Stderr, "no definition for", fullName(t))
		def = map[string]any{}
	}
	props, _ := def["properties"].(map[string]any)
	atomic := ""
	if str(def["x-kubernetes-map-type"]) == "atomic" {
		atomic = " !"
	}
	var lines []string
	fields(t, props, "", true, &lines)
	fmt.Fprintf(out, "%s%s\n", short(t), atomic)
	for _, l := range lines {
		fmt.Fprintf(out, " %s\n", l)
	}
}

func main() {
	raw, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = json.Unmarshal(raw, &swagger)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, r := range roots {
		queue = append(queue, reflect.TypeOf(r))
	}
	for len(queue) > 0 {
		sort.SliceStable(queue, func(i, j int) bool { return short(queue[i]) < short(queue[j]) })
		t := queue[0]
		queue = queue[1:]
		emit(t)
	}
	out.Flush()
}
