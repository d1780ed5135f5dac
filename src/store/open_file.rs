//! The file of a SQLite store, which must stay the one that was opened.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::StoreError;

/// The opened file: its path and identity.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl OpenFile {
    pub(super) fn new(path: PathBuf) -> std::io::Result<Self> {
        let device_and_inode = device_and_inode(&path)?;
        Ok(Self {
            path,
            device_and_inode,
        })
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        let problem = match device_and_inode(&self.path) {
            Ok(found) if found == self.device_and_inode => return Ok(()),
            Ok(_) => "has been replaced",
            Err(error) if error.kind() == ErrorKind::NotFound => "has been removed",
            Err(error) => {
                return Err(StoreError::Outage(format!(
                    "the SQLite file {} cannot be checked: {error}",
                    self.path.display()
                )));
            }
        };
        Err(StoreError::Outage(format!(
            "the SQLite file {} {problem} while it is open: nothing is written until the old file is back or this program \
             is restarted",
            self.path.display()
        )))
    }
}

fn device_and_inode(path: &Path) -> std::io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
