//! Folders that hold buyers' data, or a way to it: nobody but their owner may enter.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    #[error(
        "{} is a symbolic link, or no folder, or belongs to another user: somebody else may have made it. Remove it, or set \
         SUREPASS_DATA_DIR to a folder of your own with a shorter path",
        .0.display()
    )]
    Foreign(PathBuf),
    #[error(
        "other users may enter {}, which must be yours alone: `chmod 700 {}`, or remove it",
        .0.display(), .0.display()
    )]
    Open(PathBuf),
    #[error(
        "other users may read {}, and it holds more than the data of `surepass up`: set SUREPASS_DATA_DIR to a folder of its own, \
         or `chmod 700 {}`",
        .0.display(), .0.display()
    )]
    Shared(PathBuf),
    #[error(
        "{} belongs to another user: run `surepass up` as that user, or set SUREPASS_DATA_DIR to a folder of your own",
        .0.display()
    )]
    NotOurs(PathBuf),
}

/// Creates a folder where anybody may create one, such as `/tmp`. One that is there must be this user's own, with no rights for
/// others, and no link.
pub(super) fn claim(folder: &Path) -> Result<(), FolderError> {
    let io = |error| FolderError::Io(folder.to_owned(), error);
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(error)),
    }
    let found = std::fs::symlink_metadata(folder).map_err(io)?;
    if !found.is_dir() || !is_ours(&found) {
        return Err(FolderError::Foreign(folder.to_owned()));
    }
    if is_open(&found) {
        return Err(FolderError::Open(folder.to_owned()));
    }
    Ok(())
}

/// Creates the data folder, and takes it from others where it was there with more rights. A folder that holds other things keeps
/// its rights and is refused.
pub(super) fn keep_private(folder: &Path) -> Result<(), FolderError> {
    let io = |error| FolderError::Io(folder.to_owned(), error);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(io)?;
    let found = std::fs::metadata(folder).map_err(io)?;
    if !is_ours(&found) {
        return Err(FolderError::NotOurs(folder.to_owned()));
    }
    if !is_open(&found) {
        return Ok(());
    }
    let is_empty = std::fs::read_dir(folder).map_err(io)?.next().is_none();
    if !is_empty && !folder.join(LOCK).is_file() {
        return Err(FolderError::Shared(folder.to_owned()));
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(io)?;
    tracing::warn!(
        folder = %folder.display(),
        "other users could read the data folder; now it is this user's alone"
    );
    Ok(())
}

/// The file that a running `up` holds a lock on.
pub(super) const LOCK: &str = "lock";

fn is_ours(found: &std::fs::Metadata) -> bool {
    found.uid() == nix::unistd::geteuid().as_raw()
}

fn is_open(found: &std::fs::Metadata) -> bool {
    found.mode() & 0o077 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(folder: &Path) -> u32 {
        std::fs::metadata(folder).unwrap().mode() & 0o777
    }

    fn open_to_all(folder: &Path) {
        std::fs::create_dir(folder).unwrap();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_folder_under_the_temporary_one_must_be_ours_with_mode_0700_and_no_link() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("surepass-1");
        claim(&folder).unwrap();
        assert_eq!(rights(&folder), 0o700);
        claim(&folder).unwrap();

        let open = home.path().join("open");
        open_to_all(&open);
        assert!(matches!(claim(&open), Err(FolderError::Open(_))));
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(matches!(claim(&link), Err(FolderError::Foreign(_))));
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(claim(&file), Err(FolderError::Foreign(_))));
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&folder, Some(65_534), None).unwrap();
            assert!(matches!(claim(&folder), Err(FolderError::Foreign(_))));
        }
    }

    #[test]
    fn a_data_folder_with_other_rights_is_tightened_or_refused() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        open_to_all(&data);
        keep_private(&data).unwrap();
        assert_eq!(rights(&data), 0o700);

        let earlier = home.path().join("earlier");
        open_to_all(&earlier);
        std::fs::write(earlier.join(LOCK), "").unwrap();
        std::fs::write(earlier.join("surepass.db"), "").unwrap();
        keep_private(&earlier).unwrap();
        assert_eq!(rights(&earlier), 0o700);

        let shared = home.path().join("shared");
        open_to_all(&shared);
        std::fs::write(shared.join("letters.txt"), "").unwrap();
        assert!(matches!(keep_private(&shared), Err(FolderError::Shared(_))));
        assert_eq!(rights(&shared), 0o755);
    }
}
