//! Objects in tables, JSON and YAML, in the same way for all kinds.

use std::marker::PhantomData;

use anyhow::Result;
use jiff::Timestamp;
use velero_core::Selector;
use velero_core::api::{LabelSelector, VeleroKind};

use super::exit::Exit;
use super::objects::Objects;
use super::output::{self, Format};
use super::select::{ColumnArgs, CreateOutputArgs, ListArgs, OutputArgs};
use super::{Environment, console};

/// A kind that commands list.
pub(crate) trait Listed: VeleroKind {
    /// The word for one object.
    const NOUN: &'static str;
    /// Headings of the table.
    const HEADINGS: &'static [&'static str];

    /// The cells of one row.
    fn cells(&self, now: Timestamp) -> Vec<String>;

    /// Puts the rows of a table in order; without it they come as the API server gives them.
    fn arrange(_objects: &mut [Self]) {}
}

/// Flags of `get`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct GetObjects<K: Listed> {
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[arg(skip)]
    kind: PhantomData<K>,
}

impl<K: Listed> GetObjects<K> {
    pub(crate) async fn run(self, environment: &Environment) -> Result<Exit> {
        self.print(environment, |objects| objects).await
    }

    /// Prints what is left of the objects by a rule.
    pub(crate) async fn print(
        self,
        environment: &Environment,
        rule: impl FnOnce(Vec<K>) -> Vec<K>,
    ) -> Result<Exit> {
        let objects = Objects::new(environment.client().await?, &environment.namespace());
        let found = rule(self.list.fetch(&objects).await?);
        print_list(found, &self.output)?;
        Ok(Exit::Success)
    }
}

fn print_list<K: Listed>(mut objects: Vec<K>, args: &OutputArgs) -> Result<()> {
    if args.output == Format::Table {
        K::arrange(&mut objects);
        print_rows(&objects, &args.columns);
        return Ok(());
    }
    let values = objects
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<Vec<_>, _>>()?;
    output::print_objects(K::KIND, &values, args.output)
}

fn print_rows<K: Listed>(objects: &[K], columns: &ColumnArgs) {
    let now = Timestamp::now();
    let table = columns.table(K::HEADINGS, objects, |object| object.cells(now));
    output::print_table(&table);
}

impl CreateOutputArgs {
    /// Prints an object that is not created, if that is what was asked for.
    pub(crate) fn print<K: Listed>(&self, object: &K) -> Result<Option<Exit>> {
        match self.output {
            None => return Ok(None),
            Some(Format::Table) => print_rows(std::slice::from_ref(object), &self.columns),
            Some(format) => console::out(output::encode(&serde_json::to_value(object)?, format)?),
        }
        Ok(Some(Exit::Success))
    }
}

/// A selector as users write it; `<none>` without one.
pub(crate) fn selector_cell(selector: Option<&LabelSelector>) -> String {
    selector
        .and_then(|selector| Selector::try_from(selector).ok())
        .filter(|selector| !selector.is_empty())
        .map_or_else(|| "<none>".to_owned(), |selector| selector.to_string())
}
