package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	velerov1 "github.com/vmware-tanzu/velero/pkg/apis/velero/v1"
	"github.com/vmware-tanzu/velero/pkg/persistence"
	"github.com/vmware-tanzu/velero/pkg/plugin/velero"
)

var errReadOnly = errors.New("this store is only read")

// folder is an object store over a folder; the bucket is the folder itself.
type folder struct{ root string }

// openStore gives the peer's view of a bucket that lies in a folder.
func openStore(root string, logger logrus.FieldLogger) (persistence.BackupStore, error) {
	location := &velerov1.BackupStorageLocation{}
	location.Name = "folder"
	location.Spec.Provider = "folder"
	location.Spec.ObjectStorage = &velerov1.ObjectStorageLocation{Bucket: "bucket"}
	return persistence.NewObjectBackupStoreGetter(nil).Get(location, folder{root: root}, logger)
}

func (f folder) GetObjectStore(string) (velero.ObjectStore, error) { return f, nil }

func (f folder) path(key string) string { return filepath.Join(f.root, filepath.FromSlash(key)) }

func (f folder) Init(map[string]string) error { return nil }

func (f folder) ObjectExists(_, key string) (bool, error) {
	info, err := os.Stat(f.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Mode().IsRegular(), err
}

func (f folder) GetObject(_, key string) (io.ReadCloser, error) { return os.Open(f.path(key)) }

func (f folder) ListObjects(_, prefix string) ([]string, error) {
	var keys []string
	err := filepath.WalkDir(f.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(f.root, path)
		if key := filepath.ToSlash(relative); strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
		return err
	})
	sort.Strings(keys)
	return keys, err
}

func (f folder) ListCommonPrefixes(bucket, prefix, delimiter string) ([]string, error) {
	keys, err := f.ListObjects(bucket, prefix)
	var found []string
	for _, key := range keys {
		part, _, more := strings.Cut(key[len(prefix):], delimiter)
		common := prefix + part + delimiter
		if more && (len(found) == 0 || found[len(found)-1] != common) {
			found = append(found, common)
		}
	}
	return found, err
}

func (f folder) PutObject(_, _ string, _ io.Reader) error { return errReadOnly }

func (f folder) DeleteObject(_, _ string) error { return errReadOnly }

func (f folder) CreateSignedURL(_, _ string, _ time.Duration) (string, error) {
	return "", errReadOnly
}
