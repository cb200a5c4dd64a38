// peer-reads opens a backup with the peer's own code: its store layout, its extractor and parser, its types.
//
// Usage: peer-reads BUCKET_FOLDER BACKUP. It prints one JSON report: what the archive holds by the peer's reading, and
// everything that is wrong with it or with the documents beside it.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/sirupsen/logrus"
	velerov1 "github.com/vmware-tanzu/velero/pkg/apis/velero/v1"
)

// report is what the program prints.
type report struct {
	// Backups are the names of all backups that the peer lists in the bucket.
	Backups []string `json:"backups"`
	// Failed says that the backup has failed, by its metadata: it has no archive.
	Failed bool `json:"failed"`
	// Version is the content of metadata/version.
	Version string `json:"version"`
	// Items are the items without a version in their path, as resource/namespace/name or resource//name.
	Items []string `json:"items"`
	// Versions are the versions of each resource; the preferred one comes first and is marked with a star.
	Versions map[string][]string `json:"versions"`
	// Again are the files of items that were stored once more after their operations, as an annotation tells.
	Again []string `json:"again"`
	// Documents says how many records each document holds.
	Documents map[string]int `json:"documents"`
	// Problems is empty when the peer can read everything.
	Problems []string `json:"problems"`
}

func (r *report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: peer-reads BUCKET_FOLDER BACKUP")
		os.Exit(2)
	}
	logger := logrus.New()
	logger.SetOutput(os.Stderr)
	r := &report{Items: []string{}, Again: []string{}, Versions: map[string][]string{},
		Documents: map[string]int{}, Problems: []string{}}
	hook := &complaints{report: r}
	logger.AddHook(hook)
	if err := read(r, logger, os.Args[1], os.Args[2]); err != nil {
		r.problem("%v", err)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	if err := out.Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(r *report, logger logrus.FieldLogger, bucket, backup string) error {
	store, err := openStore(bucket, logger)
	if err != nil {
		return err
	}
	if err := store.IsValid(); err != nil {
		r.problem("the peer calls the bucket invalid: %v", err)
	}
	if r.Backups, err = store.ListBackups(); err != nil {
		return fmt.Errorf("listing the backups: %w", err)
	}
	metadata, err := store.GetBackupMetadata(backup)
	if err != nil {
		return fmt.Errorf("reading the metadata: %w", err)
	}
	r.Failed = metadata.Status.Phase == velerov1.BackupPhaseFailed
	readDocuments(r, store, bucket, backup)
	if r.Failed {
		return nil
	}
	contents, err := store.GetBackupContents(backup)
	if err != nil {
		return fmt.Errorf("opening the archive: %w", err)
	}
	defer contents.Close()
	return readArchive(r, logger, contents)
}

// complaints makes a problem of each line that the peer's code logs as a warning or worse.
type complaints struct{ report *report }

func (c *complaints) Levels() []logrus.Level {
	return []logrus.Level{logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel, logrus.WarnLevel}
}

func (c *complaints) Fire(entry *logrus.Entry) error {
	c.report.problem("the peer logs: %s", entry.Message)
	return nil
}
