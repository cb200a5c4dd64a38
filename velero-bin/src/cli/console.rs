//! Where commands print.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write as _};

use velero_core::result::printable;

/// Prints to stdout. A reader that has gone away, such as `head`, is no fault.
pub(crate) fn out(text: impl Display) {
    print(io::stdout().lock(), &text.to_string());
}

/// Prints a line to stdout.
pub(crate) fn line(text: impl Display) {
    print(io::stdout().lock(), &format!("{text}\n"));
}

/// Prints a line to stderr.
pub(crate) fn note(text: impl Display) {
    print(io::stderr().lock(), &format!("{text}\n"));
}

fn print(mut to: impl io::Write + IsTerminal, text: &str) {
    let _ = to.write_all(shown(text, to.is_terminal()).as_bytes());
}

/// A text as it is printed. What clusters and buckets hold may move the cursor of a terminal, rename its window or type into
/// it: there nothing but colours passes, and other control characters are escaped. Files and pipes get every byte.
fn shown(text: &str, is_terminal: bool) -> Cow<'_, str> {
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if !is_terminal || text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        out.push_str(&printable(&rest[..at]));
        let taken = match colour(&rest[at..]) {
            Some(colour) => {
                out.push_str(colour);
                colour.len()
            }
            None => {
                out.push_str(&printable("\u{1b}"));
                1
            }
        };
        rest = &rest[at + taken..];
    }
    out.push_str(&printable(rest));
    Cow::Owned(out)
}

/// The sequence at the start of a text that changes colours or the weight of letters, if there is one.
fn colour(text: &str) -> Option<&str> {
    let numbers = text.strip_prefix("\u{1b}[")?;
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    numbers[end..]
        .starts_with('m')
        .then(|| &text[..2 + end + 1])
}

/// Whether stderr is a terminal, so that progress may be shown.
pub(crate) fn shows_progress() -> bool {
    io::stderr().is_terminal()
}

/// A text of any number of lines as one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split('\n')
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Asks a question with the answers y and n on stderr and stdin; the end of the input counts as no.
pub(crate) fn confirm(question: &str) -> bool {
    loop {
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "{question} (Y/N)? ");
        let _ = stderr.flush();
        let mut answer = String::new();
        match io::stdin().read_line(&mut answer) {
            Ok(0) | Err(_) => {
                let _ = writeln!(stderr, "no answer; nothing is done");
                return false;
            }
            Ok(_) => match answer.trim() {
                "y" | "Y" => return true,
                "n" | "N" => return false,
                _ => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn terminals_are_shown_colours_and_no_other_control() {
        for (text, expected) in [
            ("plain \u{e4}\n\tnext", "plain \u{e4}\n\tnext"),
            ("\u{1b}[1;31mred\u{1b}[0m", "\u{1b}[1;31mred\u{1b}[0m"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("a\rb\u{9b}m", "a\\rb\\u{9b}m"),
            ("\u{1b}[31", "\\u{1b}[31"),
        ] {
            assert_eq!(super::shown(text, true), expected, "{text:?}");
            assert_eq!(super::shown(text, false), text);
        }
    }

    #[test]
    fn texts_become_one_line() {
        assert_eq!(super::one_line("a\n  b\n\nc"), "a b c");
    }
}
