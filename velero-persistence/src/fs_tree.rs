//! Blocking file system work under a root folder: paths, listings, cleaning up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::backend::ObjectEntry;

const PARTIAL_START: &str = ".velero-";
const PARTIAL_END: &str = ".partial";

/// A name for an unfinished write, next to its target so that the rename stays in one file system.
pub(crate) fn partial_in(dir: &Path) -> PathBuf {
    let id = uuid::Uuid::new_v4().simple();
    dir.join(format!("{PARTIAL_START}{id}{PARTIAL_END}"))
}

fn is_partial(name: &str) -> bool {
    name.starts_with(PARTIAL_START) && name.ends_with(PARTIAL_END)
}

/// The path of a checked key or prefix.
pub(crate) fn path_of(root: &Path, key: &str) -> PathBuf {
    let mut path = root.to_path_buf();
    path.extend(key.split('/').filter(|part| !part.is_empty()));
    path
}

/// One thing found in a folder.
struct Found {
    name: String,
    path: PathBuf,
    is_dir: bool,
    size: u64,
}

/// Reads a folder; one that is gone is empty. Links to files count as files, links to folders are not followed.
fn children(dir: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) if is_absent(&err) => return Ok(found),
        Err(err) => return Err(err),
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            tracing::warn!(path = %path.display(), "a file name that is not UTF-8 is left out");
            continue;
        };
        // The type of the entry itself tells a folder from a link to one.
        let own = match entry.file_type() {
            Ok(own) => own,
            Err(err) if is_absent(&err) => continue,
            Err(err) => return Err(err),
        };
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(err) if is_absent(&err) => continue,
            Err(err) => return Err(err),
        };
        if own.is_dir() || meta.is_file() {
            let (is_dir, size) = (own.is_dir(), meta.len());
            found.push(Found {
                name,
                path,
                is_dir,
                size,
            });
        }
    }
    Ok(found)
}

/// Says whether an error means that there is no such object.
pub(crate) fn is_absent(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

/// Lists the objects below `dir`, whose keys begin with `prefix`.
pub(crate) fn objects(dir: &Path, prefix: &str) -> io::Result<Vec<ObjectEntry>> {
    let mut all = Vec::new();
    let mut todo = vec![(dir.to_path_buf(), prefix.to_owned())];
    while let Some((dir, prefix)) = todo.pop() {
        for found in children(&dir)? {
            let key = format!("{prefix}{}", found.name);
            if found.is_dir {
                todo.push((found.path, key + "/"));
            } else if !is_partial(&found.name) {
                all.push(ObjectEntry {
                    key,
                    size: found.size,
                });
            }
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// Lists the folders in `dir` with an object anywhere below them.
///
/// A folder without one is what a deletion or a broken-off write leaves; object stores have no such thing.
pub(crate) fn folders(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for found in children(dir)? {
        if found.is_dir && holds_object(&found.path)? {
            names.push(found.name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn holds_object(dir: &Path) -> io::Result<bool> {
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for found in children(&dir)? {
            if found.is_dir {
                todo.push(found.path);
            } else if !is_partial(&found.name) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What became of a recursive deletion.
#[derive(Default)]
pub(crate) struct Removed {
    /// Objects found.
    pub(crate) found: usize,
    /// Paths that are still there, and why.
    pub(crate) left: Vec<(PathBuf, io::Error)>,
}

/// Removes everything below `dir`, unfinished writes and empty folders included, and `dir` itself.
pub(crate) fn remove_tree(dir: &Path, removed: &mut Removed) {
    let found = match children(dir) {
        Ok(found) => found,
        Err(err) => {
            removed.left.push((dir.to_path_buf(), err));
            return;
        }
    };
    for child in found {
        if child.is_dir {
            remove_tree(&child.path, removed);
            continue;
        }
        removed.found += usize::from(!is_partial(&child.name));
        match fs::remove_file(&child.path) {
            Err(err) if !is_absent(&err) => removed.left.push((child.path, err)),
            _ => {}
        }
    }
    // Fails when something is left in it, which has been reported, or was just written.
    let _ = fs::remove_dir(dir);
}

/// Removes `dir` and its parents below `root` as long as they are empty.
pub(crate) fn prune(root: &Path, dir: &Path) {
    let mut dir = Some(dir);
    while let Some(empty) = dir.filter(|dir| *dir != root && dir.starts_with(root)) {
        if fs::remove_dir(empty).is_err() {
            return;
        }
        dir = empty.parent();
    }
}

/// Removes unfinished writes directly in `dir`.
pub(crate) fn sweep(dir: &Path) -> io::Result<()> {
    for found in children(dir)? {
        if !found.is_dir && is_partial(&found.name) {
            match fs::remove_file(&found.path) {
                Err(err) if !is_absent(&err) => return Err(err),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Keeps other processes from changing objects in `dir` on condition, until the lock is dropped. `None` when there is
/// no such folder.
pub(crate) fn lock_dir(dir: &Path) -> io::Result<Option<fs::File>> {
    let lock = match fs::File::open(dir) {
        Ok(lock) => lock,
        Err(err) if is_absent(&err) => return Ok(None),
        Err(err) => return Err(err),
    };
    // Some file systems lock no folders. There it is as good as looking first can be.
    let _ = lock.lock();
    Ok(Some(lock))
}

/// Makes a rename or link in `dir` durable, where the platform can.
pub(crate) fn sync_dir(dir: &Path) {
    if let Ok(dir) = fs::File::open(dir) {
        // Some file systems refuse to sync a folder; the file itself is safe already.
        let _ = dir.sync_all();
    }
}
