package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/vmware-tanzu/velero/pkg/archive"
	"github.com/vmware-tanzu/velero/pkg/util/filesystem"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	preferredSuffix = "-preferredversion"
	// againKey is the annotation that our action gives to what is stored once more.
	againKey = "example.com/again"
)

// readArchive extracts an archive with the peer's extractor and goes through all of it with the peer's parser.
func readArchive(r *report, logger logrus.FieldLogger, contents io.Reader) error {
	files := filesystem.NewFileSystem()
	root, err := archive.NewExtractor(logger, files).UnzipAndExtractBackup(contents)
	if err != nil {
		return fmt.Errorf("extracting the archive: %w", err)
	}
	defer os.RemoveAll(root)
	version, err := os.ReadFile(filepath.Join(root, "metadata", "version"))
	if err != nil {
		return err
	}
	r.Version = string(version)
	tree := &tree{report: r, files: files, root: root, seen: map[string]bool{"metadata/version": true}}
	parser := archive.NewParser(logger, files)
	err = tree.versions(parser)
	if errors.Is(err, archive.ErrNotExist) {
		// A backup without any item has no folder of resources, and the peer then restores nothing.
		return tree.unseen()
	}
	if err != nil {
		return fmt.Errorf("parsing the versions: %w", err)
	}
	if err := tree.items(parser); err != nil {
		return fmt.Errorf("parsing the items: %w", err)
	}
	return tree.unseen()
}

// tree is an extracted archive.
type tree struct {
	report *report
	files  filesystem.Interface
	root   string
	// seen are the files that the peer's parser has led to.
	seen map[string]bool
}

func (t *tree) versions(parser *archive.Parser) error {
	groups, err := parser.ParseGroupVersions(t.root)
	if err != nil {
		return err
	}
	for resource, group := range groups {
		var versions []string
		if preferred := group.PreferredVersion.Version; preferred != "" {
			versions = append(versions, preferred+"*")
		}
		for _, version := range group.Versions {
			if version.Version != group.PreferredVersion.Version {
				versions = append(versions, version.Version)
			}
		}
		if name := schema.ParseGroupResource(resource).Group; name != group.Name {
			t.report.problem("%s: its group is read as %q", resource, group.Name)
		}
		t.report.Versions[resource] = versions
	}
	return nil
}

// items goes through the items of all resources, and for each through the folders of its versions.
func (t *tree) items(parser *archive.Parser) error {
	resources, err := parser.Parse(t.root)
	if err != nil {
		return err
	}
	for resource, items := range resources {
		for namespace, names := range items.ItemsByNamespace {
			for _, name := range names {
				t.report.Items = append(t.report.Items, resource+"/"+namespace+"/"+name)
				t.item(resource, namespace, name)
			}
		}
		for _, version := range t.report.Versions[resource] {
			if err := t.version(resource, version); err != nil {
				return err
			}
		}
	}
	sort.Strings(t.report.Items)
	return nil
}

// item checks an item without a version in its path: the same bytes lie under its preferred version.
func (t *tree) item(resource, namespace, name string) {
	plain := archive.GetItemFilePath(t.root, resource, namespace, name)
	version := t.object(plain, namespace, name)
	versions := t.report.Versions[resource]
	if len(versions) == 0 || versions[0] != version+"*" {
		t.report.problem("%s %s/%s is of version %s, the versions are %v", resource, namespace, name, version, versions)
		return
	}
	twin := archive.GetVersionedItemFilePath(t.root, resource, namespace, name, version+preferredSuffix)
	one, err := os.ReadFile(plain)
	if err != nil {
		t.report.problem("%v", err)
	}
	other, err := os.ReadFile(twin)
	if err != nil {
		t.report.problem("%s %s/%s has no second file: %v", resource, namespace, name, err)
	} else if !bytes.Equal(one, other) {
		t.report.problem("%s %s/%s is not the same in both of its files", resource, namespace, name)
	}
}

// version reads all items in the folder of a version.
func (t *tree) version(resource, version string) error {
	plain, preferred := strings.CutSuffix(version, "*")
	dir := plain
	if preferred {
		dir += preferredSuffix
	}
	base := filepath.Join(t.root, "resources", resource, dir)
	return filepath.WalkDir(base, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		inside, err := filepath.Rel(base, path)
		if err != nil {
			return err
		}
		parts := strings.Split(filepath.ToSlash(inside), "/")
		name, namespace := strings.TrimSuffix(parts[len(parts)-1], ".json"), ""
		if parts[0] == "namespaces" && len(parts) == 3 {
			namespace = parts[1]
		}
		if expected := archive.GetVersionedItemFilePath(t.root, resource, namespace, name, dir); expected != path {
			t.report.problem("%s: the peer would look for it as %s", path, expected)
		}
		if found := t.object(path, namespace, name); found != plain {
			t.report.problem("%s is of version %s", path, found)
		}
		return nil
	})
}

// object reads one item as the peer does, checks that it is what its path says, and gives its version.
func (t *tree) object(path, namespace, name string) string {
	relative, err := filepath.Rel(t.root, path)
	if err != nil {
		t.report.problem("%v", err)
	}
	relative = filepath.ToSlash(relative)
	first := !t.seen[relative]
	t.seen[relative] = true
	object, err := archive.Unmarshal(t.files, path)
	if err != nil {
		t.report.problem("%s: %v", path, err)
		return ""
	}
	if _, again := object.GetAnnotations()[againKey]; again && first {
		t.report.Again = append(t.report.Again, relative)
	}
	if object.GetName() != name || object.GetNamespace() != namespace {
		t.report.problem("%s holds %s/%s", path, object.GetNamespace(), object.GetName())
	}
	if object.GetKind() == "" {
		t.report.problem("%s has no kind", path)
	}
	return object.GroupVersionKind().Version
}

// unseen finds files that were extracted and that the peer's parser did not lead to.
func (t *tree) unseen() error {
	return filepath.WalkDir(t.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(t.root, path)
		if !t.seen[filepath.ToSlash(relative)] {
			t.report.problem("%s: the peer does not find it", relative)
		}
		return err
	})
}
