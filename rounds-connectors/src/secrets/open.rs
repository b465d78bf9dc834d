//! Reading a small file that holds a secret: a regular file of bounded size, reached without following a link.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// Larger files are not secrets.
pub(super) const MAX_BYTES: u64 = 1024 * 1024;

/// Why a file was not read. Never quotes it.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is not there, or a part of the way to it is something else than it was a moment ago.
    Gone,
    /// What a person should know.
    Because(String),
}

/// The text of a file whose path has been resolved: a link on the way, which can only have been put there since, is not
/// followed. One line end at the end is left out.
pub(super) fn read_resolved(path: &Path) -> Result<Zeroizing<String>, Unread> {
    let file = open(path).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Unread::Gone,
        error => Unread::Because(format!("it cannot be read: {}", error.kind())),
    })?;
    let wrong = || Unread::Because(format!("it is not a regular file of at most {MAX_BYTES} bytes"));
    let cannot = |error: io::Error| Unread::Because(format!("it cannot be read: {}", error.kind()));
    // Asked of the open file: what its name stands for may have changed since.
    let meta = file.metadata().map_err(cannot)?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(wrong());
    }
    // A buffer that grows leaves pieces of the secret behind, so it is made large enough at once.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default() + 1));
    (&file).take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(wrong());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Unread::Because("it is not text".into()))?;
    let text = text.strip_suffix("\r\n").or(text.strip_suffix('\n')).unwrap_or(text);
    if text.is_empty() {
        return Err(Unread::Because("it is empty".into()));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// The text of a file that the operator of the server names; links are theirs.
pub(super) fn read_named(path: &Path) -> Result<Zeroizing<String>, String> {
    let mut tries = 0;
    loop {
        let real = path.canonicalize().map_err(|error| format!("{}: {}", path.display(), error.kind()))?;
        match read_resolved(&real) {
            Ok(text) => return Ok(text),
            Err(Unread::Because(why)) => return Err(format!("{}: {why}", path.display())),
            Err(Unread::Gone) if tries < super::ROTATIONS => tries += 1,
            Err(Unread::Gone) => return Err(format!("{}: it is not there", path.display())),
        }
    }
}

/// Opens a path part by part, following no link. A pipe or a device that stands there does not make it wait.
fn open(path: &Path) -> rustix::io::Result<File> {
    #[cfg(target_os = "linux")]
    let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let way = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let end = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut parts = path.components().peekable();
    if parts.next() != Some(Component::RootDir) {
        return Err(Errno::INVAL);
    }
    let mut at = rustix::fs::open("/", way, Mode::empty())?;
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(Errno::INVAL) };
        let flags = if parts.peek().is_some() { way } else { end };
        at = rustix::fs::openat(&at, name, flags, Mode::empty())?;
    }
    Ok(at.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_that_was_put_on_the_way_since_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::fs::write(root.join("real/a"), "s3cr3t").unwrap();
        symlink(root.join("real"), root.join("dir")).unwrap();
        symlink(root.join("real/a"), root.join("file")).unwrap();
        assert_eq!(*read_resolved(&root.join("real/a")).unwrap(), "s3cr3t");
        for link in ["dir/a", "file"] {
            assert!(matches!(read_resolved(&root.join(link)), Err(Unread::Gone)), "{link}");
        }
        assert_eq!(*read_named(&root.join("dir/a")).unwrap(), "s3cr3t");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        for place in [root.join("pipe"), root.clone(), "/dev/zero".into()] {
            let Err(Unread::Because(why)) = read_resolved(&place) else { panic!("{} was read", place.display()) };
            assert!(why.contains("regular file"), "{why}");
        }
        std::fs::write(root.join("large"), vec![b'a'; MAX_BYTES as usize + 1]).unwrap();
        assert!(matches!(read_resolved(&root.join("large")), Err(Unread::Because(_))));
    }

    #[test]
    fn one_line_end_at_the_end_is_left_out_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().canonicalize().unwrap().join("a");
        for (written, read) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("a\r", "a\r")]
        {
            std::fs::write(&file, written).unwrap();
            assert_eq!(*read_resolved(&file).unwrap(), read, "{written:?}");
        }
        for empty in ["", "\n", "\r\n"] {
            std::fs::write(&file, empty).unwrap();
            assert!(matches!(read_resolved(&file), Err(Unread::Because(_))), "{empty:?}");
        }
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(matches!(read_resolved(&file), Err(Unread::Because(_))));
    }
}
