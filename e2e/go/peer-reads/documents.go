package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sort"

	"github.com/vmware-tanzu/velero/pkg/persistence"
	"github.com/vmware-tanzu/velero/pkg/util/results"
)

// readDocuments reads the JSON documents of a backup twice: by the peer's store, which forgives much, and strictly
// into the types that the store returns. Of a backup that has failed, three documents are there and no archive.
func readDocuments(r *report, store persistence.BackupStore, bucket, backup string) {
	d := documents{report: r, folder: filepath.Join(bucket, "backups", backup)}
	tarball, named := backup+".tar.gz", map[string]bool{}
	for _, document := range []struct {
		file     string
		ofFailed bool
		check    func(string) (int, error)
	}{
		{"velero-backup.json", true, func(file string) (int, error) {
			return checkStored(d, file, func() (any, error) { return store.GetBackupMetadata(backup) },
				like(persistence.BackupStore.GetBackupMetadata))
		}},
		{backup + "-podvolumebackups.json.gz", false, func(file string) (int, error) {
			return checkStored(d, file, func() (any, error) { return store.GetPodVolumeBackups(backup) },
				like(persistence.BackupStore.GetPodVolumeBackups))
		}},
		{backup + "-volumesnapshots.json.gz", false, func(file string) (int, error) {
			return checkStored(d, file, func() (any, error) { return store.GetBackupVolumeSnapshots(backup) },
				like(persistence.BackupStore.GetBackupVolumeSnapshots))
		}},
		{backup + "-itemoperations.json.gz", false, func(file string) (int, error) {
			return checkStored(d, file, func() (any, error) { return store.GetBackupItemOperations(backup) },
				like(persistence.BackupStore.GetBackupItemOperations))
		}},
		{backup + "-volumeinfo.json.gz", false, func(file string) (int, error) {
			return checkStored(d, file, func() (any, error) { return store.GetBackupVolumeInfos(backup) },
				like(persistence.BackupStore.GetBackupVolumeInfos))
		}},
		{backup + "-results.gz", true, func(file string) (int, error) {
			return d.strict(file, new(map[string]results.Result))
		}},
		{backup + "-resource-list.json.gz", false, func(file string) (int, error) {
			return d.strict(file, new(map[string][]string))
		}},
		{backup + "-logs.gz", true, d.lines},
	} {
		if r.Failed && !document.ofFailed {
			continue
		}
		named[document.file] = true
		records, err := document.check(document.file)
		if err != nil {
			r.problem("%s: %v", document.file, err)
		}
		r.Documents[document.file] = records
	}
	entries, err := os.ReadDir(d.folder)
	if err != nil {
		r.problem("%v", err)
	}
	for _, entry := range entries {
		if name := entry.Name(); !named[name] && (name != tarball || r.Failed) {
			r.problem("%s: the peer knows no such file there", name)
		}
	}
}

type documents struct {
	report *report
	folder string
}

// like gives an empty value of the type that a method of the peer's store returns. The types of some documents are
// internal to the peer: they cannot be named here, only inferred.
func like[T any](func(persistence.BackupStore, string) (T, error)) any { return new(T) }

func checkStored(d documents, file string, get func() (any, error), into any) (int, error) {
	if _, err := get(); err != nil {
		return 0, fmt.Errorf("the peer's store cannot read it: %w", err)
	}
	return d.strict(file, into)
}

// strict decodes a document with unknown fields refused; what the peer would write of it again must be the same.
func (d documents) strict(file string, into any) (int, error) {
	text, err := d.text(file)
	if err != nil {
		return 0, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return 0, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return 0, fmt.Errorf("something follows the document")
	}
	again, err := json.Marshal(into)
	if err != nil {
		return 0, err
	}
	var ours, theirs any
	if err := json.Unmarshal(text, &ours); err != nil {
		return 0, err
	}
	if err := json.Unmarshal(again, &theirs); err != nil {
		return 0, err
	}
	for _, difference := range differences("", ours, theirs) {
		d.report.problem("%s: %s", file, difference)
	}
	return records(ours), nil
}

func (d documents) lines(file string) (int, error) {
	text, err := d.text(file)
	return bytes.Count(text, []byte("\n")), err
}

func (d documents) text(file string) ([]byte, error) {
	bytes, err := os.ReadFile(filepath.Join(d.folder, file))
	if err != nil || filepath.Ext(file) != ".gz" {
		return bytes, err
	}
	return gunzip(bytes)
}

func gunzip(packed []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

func records(document any) int {
	switch value := document.(type) {
	case []any:
		return len(value)
	case map[string]any:
		return len(value)
	}
	return 0
}

// differences tells where a document of ours is not what the peer would write in its place.
func differences(path string, ours, theirs any) []string {
	left, right := asMap(ours), asMap(theirs)
	if left == nil || right == nil {
		if reflect.DeepEqual(ours, theirs) {
			return nil
		}
		return []string{fmt.Sprintf("%s is %s, the peer would write %s", path, brief(ours), brief(theirs))}
	}
	keys := map[string]bool{}
	for key := range left {
		keys[key] = true
	}
	for key := range right {
		keys[key] = true
	}
	var sorted, found []string
	for key := range keys {
		sorted = append(sorted, key)
	}
	sort.Strings(sorted)
	for _, key := range sorted {
		mine, inOurs := left[key]
		other, inTheirs := right[key]
		switch {
		case !inOurs:
			found = append(found, fmt.Sprintf("%s.%s is missing, the peer would write %s", path, key, brief(other)))
		case !inTheirs:
			found = append(found, fmt.Sprintf("%s.%s is %s, the peer would drop it", path, key, brief(mine)))
		default:
			found = append(found, differences(path+"."+key, mine, other)...)
		}
	}
	return found
}

// asMap gives an object's fields, or a list's elements by their index; nil for everything else.
func asMap(value any) map[string]any {
	switch value := value.(type) {
	case map[string]any:
		return value
	case []any:
		fields := map[string]any{}
		for at, element := range value {
			fields[fmt.Sprintf("%06d", at)] = element
		}
		return fields
	}
	return nil
}

func brief(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	const most = 200
	if len(text) > most {
		return string(text[:most]) + "..."
	}
	return string(text)
}
