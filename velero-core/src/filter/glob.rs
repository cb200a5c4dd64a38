//! Globs in the grammar that the peer's filters have, matched in time proportional to pattern times name.
//!
//! `*` and `**` stand for any characters, dots included, `?` for one; `[abc]` and `[!abc]` for one of a list, `[a-c]` and
//! `[!a-c]` for one of a single range; `{a,b*}` for alternatives, which nest; `\` takes the next character as it is.
//! Unlike in shells, brackets hold either a list or one range, and `^` is a character like any other.
//!
//! With a separator, `*` and `?` stand for other characters only, `**` for any; brackets may hold it.

/// A compiled glob.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    steps: Vec<Step>,
    separator: Option<char>,
}

/// One instruction of the machine that a glob becomes; the last one is `End`.
#[derive(Debug, Clone)]
enum Step {
    /// Takes one character.
    One(Class),
    /// Takes any number of characters, of separators only where it crosses them.
    Run {
        crosses: bool,
    },
    /// Goes on at each of these steps.
    Split(Vec<usize>),
    /// Goes on at this step.
    Jump(usize),
    End,
}

#[derive(Debug, Clone)]
enum Class {
    Any,
    Exactly(char),
    Among { chars: Vec<char>, not: bool },
    Between { low: char, high: char, not: bool },
}

impl Class {
    fn has(&self, c: char) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(one) => *one == c,
            Self::Among { chars, not } => chars.contains(&c) != *not,
            Self::Between { low, high, not } => (*low..=*high).contains(&c) != *not,
        }
    }
}

impl Glob {
    /// Compiles a pattern; `None` when it does not parse.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        Self::compile(pattern, None)
    }

    /// Compiles a pattern of names that have parts; `None` when it does not parse.
    pub(crate) fn of_parts(pattern: &str, separator: char) -> Option<Self> {
        Self::compile(pattern, Some(separator))
    }

    fn compile(pattern: &str, separator: Option<char>) -> Option<Self> {
        let mut compiler = Compiler {
            chars: pattern.chars().collect(),
            separator,
            at: 0,
            steps: Vec::new(),
            groups: Vec::new(),
        };
        compiler.run()?;
        Some(Self {
            steps: compiler.steps,
            separator,
        })
    }

    /// Whether the whole of `name` matches.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let (mut now, mut next) = (Places::new(&self.steps), Places::new(&self.steps));
        now.enter(&self.steps, 0);
        for c in name.chars() {
            next.clear();
            for at in &now.list {
                match &self.steps[*at] {
                    Step::One(class) if class.has(c) => next.enter(&self.steps, at + 1),
                    Step::Run { crosses } if *crosses || self.separator != Some(c) => {
                        next.enter(&self.steps, *at);
                    }
                    _ => {}
                }
            }
            std::mem::swap(&mut now, &mut next);
            if now.list.is_empty() {
                return false;
            }
        }
        now.list
            .iter()
            .any(|at| matches!(self.steps[*at], Step::End))
    }
}

/// The steps that a match may be at, each once.
struct Places {
    list: Vec<usize>,
    known: Vec<bool>,
}

impl Places {
    fn new(steps: &[Step]) -> Self {
        Self {
            list: Vec::with_capacity(steps.len()),
            known: vec![false; steps.len()],
        }
    }

    fn clear(&mut self) {
        self.list.clear();
        self.known.fill(false);
    }

    /// Adds a step and all that can be reached from it without taking a character.
    fn enter(&mut self, steps: &[Step], at: usize) {
        let mut waiting = vec![at];
        while let Some(at) = waiting.pop() {
            if std::mem::replace(&mut self.known[at], true) {
                continue;
            }
            match &steps[at] {
                Step::Split(targets) => waiting.extend(targets),
                Step::Jump(target) => waiting.push(*target),
                Step::Run { .. } => {
                    self.list.push(at);
                    waiting.push(at + 1);
                }
                Step::One(_) | Step::End => self.list.push(at),
            }
        }
    }
}

/// Alternatives that are being read.
struct Group {
    split: usize,
    /// The jumps at the ends of the alternatives.
    exits: Vec<usize>,
}

struct Compiler {
    chars: Vec<char>,
    separator: Option<char>,
    at: usize,
    steps: Vec<Step>,
    groups: Vec<Group>,
}

impl Compiler {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied();
        self.at += 1;
        c
    }

    fn run(&mut self) -> Option<()> {
        while let Some(c) = self.next() {
            match c {
                '*' => self.star(),
                '?' => self.steps.push(Step::One(match self.separator {
                    None => Class::Any,
                    Some(c) => Class::Among {
                        chars: vec![c],
                        not: true,
                    },
                })),
                '[' => {
                    let class = self.class()?;
                    self.steps.push(Step::One(class));
                }
                '{' => {
                    let split = self.steps.len();
                    self.steps.push(Step::Split(vec![split + 1]));
                    self.groups.push(Group {
                        split,
                        exits: Vec::new(),
                    });
                }
                ',' if !self.groups.is_empty() => self.alternative(),
                '}' if !self.groups.is_empty() => self.close(),
                '\\' => {
                    if let Some(c) = self.next() {
                        self.steps.push(Step::One(Class::Exactly(c)));
                    }
                }
                c => self.steps.push(Step::One(Class::Exactly(c))),
            }
        }
        // Braces that are left open end with the pattern.
        while !self.groups.is_empty() {
            self.close();
        }
        self.steps.push(Step::End);
        Some(())
    }

    fn star(&mut self) {
        let mut crosses = self.separator.is_none();
        if !crosses && self.chars.get(self.at) == Some(&'*') {
            self.at += 1;
            crosses = true;
        }
        if !matches!(self.steps.last(), Some(Step::Run { crosses: last }) if *last == crosses) {
            self.steps.push(Step::Run { crosses });
        }
    }

    fn alternative(&mut self) {
        let exit = self.steps.len();
        self.steps.push(Step::Jump(exit));
        if let Some(group) = self.groups.last_mut() {
            group.exits.push(exit);
            if let Step::Split(targets) = &mut self.steps[group.split] {
                targets.push(exit + 1);
            }
        }
    }

    fn close(&mut self) {
        let Some(group) = self.groups.pop() else {
            return;
        };
        // A step of its own, so that a run behind the braces is not taken for the one before them.
        let end = self.steps.len();
        self.steps.push(Step::Jump(end + 1));
        for exit in group.exits {
            self.steps[exit] = Step::Jump(end);
        }
    }

    /// What stands between brackets: a list, or one range.
    fn class(&mut self) -> Option<Class> {
        let mut first = self.next()?;
        let not = first == '!';
        if not {
            first = self.next()?;
        }
        if self.chars.get(self.at) == Some(&'-') {
            self.at += 1;
            let high = self.next()?;
            let closed = self.next()? == ']';
            return (closed && first <= high).then_some(Class::Between {
                low: first,
                high,
                not,
            });
        }
        self.at -= 1;
        let mut chars = Vec::new();
        loop {
            match self.next()? {
                ']' => break,
                '\\' => chars.push(self.next()?),
                c => chars.push(c),
            }
        }
        (!chars.is_empty()).then_some(Class::Among { chars, not })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for (pattern, yes, no) in [
            ("*", &["", "a.b"][..], &[][..]),
            ("a**b*", &["ab", "axb.c"], &["ba"]),
            ("a?c", &["abc", "a.c", "aéc"], &["ac", "abbc"]),
            ("*.velero.io", &["backups.velero.io"], &["velero.io"]),
            ("[abc]x", &["ax", "cx"], &["dx", "x", "abcx"]),
            ("[!abc]x", &["dx"], &["ax", "x"]),
            ("[a-c]", &["b"], &["-", "d"]),
            ("[!a-c]", &["d", "-"], &["b"]),
            ("[ab-d]", &["-", "a", "d"], &["c"]),
            ("[^a]", &["^", "a"], &["b"]),
            ("[a[b]", &["[", "a"], &["]"]),
            ("[a\\]b]", &["]", "b"], &["\\"]),
            ("{a,b*}x", &["ax", "bx", "b.yx"], &["cx", "a"]),
            ("{a,}x", &["ax", "x"], &["bx"]),
            ("{a,{b,c}d}*", &["a", "bd", "cdx"], &["b", "d"]),
            ("*{a,b}*{c,d}", &["ac", "xbyd"], &["ab"]),
            ("{a,b", &["a", "b"], &["{a"]),
            ("a,b}", &["a,b}"], &["a"]),
            ("\\*a", &["*a"], &["xa"]),
            ("a]", &["a]"], &["a"]),
        ] {
            let glob = Glob::new(pattern).unwrap();
            for name in yes {
                assert!(glob.matches(name), "{pattern} should match {name}");
            }
            for name in no {
                assert!(!glob.matches(name), "{pattern} should not match {name}");
            }
        }
        for broken in [
            "[", "[]", "[!]", "[a", "[b-a]", "[a-]", "[a-cx]", "x[", "[a\\",
        ] {
            assert!(Glob::new(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn names_with_parts() {
        for (pattern, yes, no) in [
            ("*", &["pods", ""][..], &["deployments.apps"][..]),
            ("**", &["pods", "deployments.apps", "a.b.c"], &[]),
            ("***", &["pods", "a.b.c"], &[]),
            (
                "*.apps",
                &["deployments.apps", ".apps"],
                &["apps", "a.b.apps"],
            ),
            ("**.apps", &["a.b.apps"], &["a.b"]),
            ("*.*", &["a.b"], &["a", "a.b.c"]),
            ("*.**", &["a.b", "a.b.c"], &["a"]),
            (
                "*s.snapshot.**",
                &["volumes.snapshot.storage.k8s.io"],
                &["volumes"],
            ),
            ("pod?", &["pods"], &["pod.", "pod"]),
            (
                "{pods,*.apps}",
                &["pods", "deployments.apps"],
                &["services"],
            ),
            ("a[.]b", &["a.b"], &["ab"]),
            ("pods", &["pods"], &["pods.x", "xpods"]),
        ] {
            let glob = Glob::of_parts(pattern, '.').unwrap();
            for name in yes {
                assert!(glob.matches(name), "{pattern} should match {name}");
            }
            for name in no {
                assert!(!glob.matches(name), "{pattern} should not match {name}");
            }
        }
        assert!(Glob::of_parts("[", '.').is_none());
    }

    #[test]
    fn hostile_patterns_are_cheap() {
        let name = "a".repeat(253);
        let glob = Glob::new(&format!("{}b", "*a".repeat(60))).unwrap();
        assert!(!glob.matches(&name));
        let nested = Glob::new(&"{".repeat(10_000)).unwrap();
        assert!(nested.matches("") && !nested.matches("a"));
    }
}
