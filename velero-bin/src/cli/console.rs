//! Where commands print.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

/// Prints to stdout. A reader that has gone away, such as `head`, is no fault.
pub(crate) fn out(text: impl Display) {
    let _ = write!(io::stdout().lock(), "{text}");
}

/// Prints a line to stdout.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Prints a line to stderr.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
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
    fn texts_become_one_line() {
        assert_eq!(super::one_line("a\n  b\n\nc"), "a b c");
    }
}
