//! JSON patches as the peer makes them (Go: `evanphx/json-patch` v5).
//!
//! They are those of RFC 6902 with differences that a crate for the RFC would not know: indexes may count from the end
//! (`-1` is the last element; where one is added, the place behind it), may have leading zeros, and a `test` for null
//! passes where there is nothing.

use serde_json::Value;

/// Where in an object something stands: `/spec/ports/0/name`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pointer {
    text: String,
    tokens: Vec<String>,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Remove,
    Replace,
    Test,
    Move,
    Copy,
}

/// One step of a patch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operation {
    pub(super) op: Op,
    /// Only of [`Op::Move`] and [`Op::Copy`].
    pub(super) from: Pointer,
    pub(super) path: Pointer,
    /// Only of [`Op::Add`], [`Op::Replace`] and [`Op::Test`].
    pub(super) value: Value,
}

/// Why an operation was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// A test did not pass.
    Test,
    /// There is nothing where the operation looks.
    Absent(String),
    /// The operation can never be made on an object of this form.
    Wrong(String),
}

impl Op {
    pub(super) const ALL: [Self; 6] = [
        Self::Add,
        Self::Remove,
        Self::Replace,
        Self::Test,
        Self::Move,
        Self::Copy,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Replace => "replace",
            Self::Test => "test",
            Self::Move => "move",
            Self::Copy => "copy",
        }
    }

    /// Whether it looks at `from`.
    pub(super) fn has_source(self) -> bool {
        matches!(self, Self::Move | Self::Copy)
    }

    /// Whether it looks at `value`.
    pub(super) fn has_value(self) -> bool {
        matches!(self, Self::Add | Self::Replace | Self::Test)
    }
}

impl Pointer {
    /// Reads a pointer, which begins with a slash. `~1` stands for a slash within a name, `~0` for a tilde.
    pub(super) fn new(text: &str) -> Option<Self> {
        let tokens = text.strip_prefix('/')?.split('/');
        Some(Self {
            text: text.to_owned(),
            // In this order `~01` becomes `~1`, as it should.
            tokens: tokens
                .map(|token| token.replace("~1", "/").replace("~0", "~"))
                .collect(),
        })
    }

    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The pointer to the first `count` steps of this one, as text.
    fn beginning(&self, count: usize) -> &str {
        let end = self.text.match_indices('/').nth(count).map(|(at, _)| at);
        end.map_or(self.as_str(), |end| &self.text[..end])
    }

    fn absent(&self, count: usize) -> Failure {
        Failure::Absent(format!("the object has no {}", self.beginning(count)))
    }

    /// The last step and those before it.
    fn split(&self) -> (&str, &[String]) {
        self.tokens
            .split_last()
            .map_or(("", &[]), |(last, parents)| (last.as_str(), parents))
    }
}

/// Makes all operations, or says which one was not made and why; what the others did to `object` stays.
pub(super) fn apply(object: &mut Value, operations: &[Operation]) -> Result<(), (usize, Failure)> {
    for (at, operation) in operations.iter().enumerate() {
        step(object, operation).map_err(|failure| (at, failure))?;
    }
    Ok(())
}

/// Whether `value` stands at `path`; null also where there is nothing.
pub(super) fn test(object: &Value, path: &Pointer, value: &Value) -> Result<(), Failure> {
    let found = look(object, path)?.filter(|found| !found.is_null());
    if found.unwrap_or(&Value::Null) == value {
        Ok(())
    } else {
        Err(Failure::Test)
    }
}

fn step(object: &mut Value, operation: &Operation) -> Result<(), Failure> {
    let Operation {
        op,
        from,
        path,
        value,
    } = operation;
    match op {
        Op::Add => add(object, path, value.clone()),
        Op::Test => test(object, path, value),
        Op::Replace => {
            present(object, path)?;
            *slot(object, path)? = value.clone();
            Ok(())
        }
        Op::Remove => take(object, path).map(drop),
        Op::Move => {
            let moved = take(object, from)?;
            add(object, path, moved)
        }
        Op::Copy => {
            let copy = present(object, from)?.clone();
            add(object, path, copy)
        }
    }
}

/// What stands at `path`: an error where not even what it would stand in is there.
fn look<'a>(object: &'a Value, path: &Pointer) -> Result<Option<&'a Value>, Failure> {
    let (last, parents) = path.split();
    let mut at = object;
    for (depth, token) in parents.iter().enumerate() {
        at = match at {
            Value::Object(map) => map.get(token),
            Value::Array(list) => index(token, list.len()).ok().and_then(|i| list.get(i)),
            _ => None,
        }
        .ok_or_else(|| path.absent(depth + 1))?;
    }
    match at {
        Value::Object(map) => Ok(map.get(last)),
        Value::Array(list) => Ok(list.get(index(last, list.len())?)),
        _ => Err(no_container(path, parents.len())),
    }
}

fn present<'a>(object: &'a Value, path: &Pointer) -> Result<&'a Value, Failure> {
    look(object, path)?.ok_or_else(|| path.absent(path.tokens.len()))
}

/// The value at `path`, which is there.
fn slot<'a>(object: &'a mut Value, path: &Pointer) -> Result<&'a mut Value, Failure> {
    let gone = || path.absent(path.tokens.len());
    match container(object, path)? {
        (Value::Object(map), last) => map.get_mut(last).ok_or_else(gone),
        (Value::Array(list), last) => {
            let at = index(last, list.len())?;
            list.get_mut(at).ok_or_else(gone)
        }
        _ => Err(gone()),
    }
}

/// What the value at `path` stands in, and its name or index there.
fn container<'a, 'p>(
    object: &'a mut Value,
    path: &'p Pointer,
) -> Result<(&'a mut Value, &'p str), Failure> {
    let (last, parents) = path.split();
    let mut at = object;
    for (depth, token) in parents.iter().enumerate() {
        let child = match at {
            Value::Object(map) => map.get_mut(token),
            Value::Array(list) => match index(token, list.len()) {
                Ok(i) => list.get_mut(i),
                Err(_) => None,
            },
            _ => None,
        };
        at = child.ok_or_else(|| path.absent(depth + 1))?;
    }
    if at.is_object() || at.is_array() {
        Ok((at, last))
    } else {
        Err(no_container(path, parents.len()))
    }
}

fn no_container(path: &Pointer, parents: usize) -> Failure {
    Failure::Absent(format!(
        "{} of the object holds nothing",
        path.beginning(parents)
    ))
}

fn add(object: &mut Value, path: &Pointer, value: Value) -> Result<(), Failure> {
    match container(object, path)? {
        (Value::Object(map), last) => {
            map.insert(last.to_owned(), value);
        }
        (Value::Array(list), "-") => list.push(value),
        (Value::Array(list), last) => {
            // One place more than there are elements: an index from the end may be the place behind the last.
            let at = index(last, list.len() + 1)?;
            list.insert(at, value);
        }
        _ => return Err(path.absent(path.tokens.len())),
    }
    Ok(())
}

fn take(object: &mut Value, path: &Pointer) -> Result<Value, Failure> {
    let taken = match container(object, path)? {
        (Value::Object(map), last) => map.remove(last),
        (Value::Array(list), last) => Some(list.remove(index(last, list.len())?)),
        _ => None,
    };
    taken.ok_or_else(|| path.absent(path.tokens.len()))
}

/// The place that an index means among `places`.
fn index(token: &str, places: usize) -> Result<usize, Failure> {
    let number: i64 = token.parse().map_err(|_| {
        Failure::Wrong(format!(
            "{token:?} is no place in a list; write a number, or where something is added - for the end"
        ))
    })?;
    let at = if number < 0 {
        usize::try_from(number.unsigned_abs())
            .ok()
            .and_then(|back| places.checked_sub(back))
    } else {
        usize::try_from(number).ok().filter(|at| *at < places)
    };
    at.ok_or_else(|| Failure::Absent(format!("the list has no place {token}; there are {places}")))
}
