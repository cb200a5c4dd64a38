//! Where commands print.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

/// Prints to stdout. A reader that has gone away, such as `head`, is no fault.
pub(crate) fn out(text: impl Display) {
    let mut stdout = io::stdout().lock();
    let text = text.to_string();
    let _ = write!(stdout, "{}", shown(&text, stdout.is_terminal()));
}

/// Prints a line to stdout.
pub(crate) fn line(text: impl Display) {
    let mut stdout = io::stdout().lock();
    let text = text.to_string();
    let _ = writeln!(stdout, "{}", shown(&text, stdout.is_terminal()));
}

/// Prints a line to stderr.
pub(crate) fn note(text: impl Display) {
    let mut stderr = io::stderr().lock();
    let text = text.to_string();
    let _ = writeln!(stderr, "{}", shown(&text, stderr.is_terminal()));
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
    while let Some(c) = rest.chars().next() {
        let taken = match colour(rest) {
            Some(colour) => {
                out.push_str(colour);
                colour.len()
            }
            None if is_plain(c) => {
                out.push(c);
                c.len_utf8()
            }
            None => {
                out.extend(c.escape_default());
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
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
