//! The lines of the env file: what a developer's shell or a test needs to reach this sandbox.

use std::path::Path;
use std::{fmt::Write as _, io};

/// `lines` as the text of an env file, one `KEY=value` a line.
pub(crate) fn text(lines: &[(&'static str, String)]) -> String {
    let mut text = String::from(HEADER);
    for (key, value) in lines {
        writeln!(text, "{key}={}", quoted(value)).expect("writing to a string never fails");
    }
    text
}

/// Writes the text of `lines` to `path` at once: a reader sees the old file or the new one.
///
/// # Errors
/// Those of the file system.
pub(crate) fn write(path: &Path, lines: &[(&'static str, String)]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text(lines))?;
    std::fs::rename(&beside, path)
}

/// Plain where a shell and every dotenv reader take it plain; in single quotes otherwise, as a path with a space.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-=@%+,".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

const HEADER: &str =
    "# Written by the Tollgate sandbox. The keys are public: never use one on a real network.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_quoted_only_where_it_must_be() {
        let lines = [("A", "http://127.0.0.1:8000/friendbot".into()), ("B", "/a b/c".into())];
        let expected = format!("{HEADER}A=http://127.0.0.1:8000/friendbot\nB='/a b/c'\n");
        assert_eq!(text(&lines), expected);
    }

    #[test]
    fn writing_replaces_the_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbox.env");
        write(&path, &[("A", "1".into())]).unwrap();
        write(&path, &[("A", "2".into())]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{HEADER}A=2\n"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
