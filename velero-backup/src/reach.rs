//! Lists that fail: what is told of them, and when the whole cluster counts as gone.

use velero_cluster::ErrorKind;
use velero_core::GroupResource;
use velero_core::result::{Record, Severity, chain};

use crate::Error;

/// Lists in a row without any answer after which the cluster counts as gone.
const MAX_UNREACHABLE: u32 = 3;

/// How well the cluster can be reached, by its lists.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    unreachable: u32,
}

impl Reach {
    /// A page of a list has come.
    pub(crate) fn answered(&mut self) {
        self.unreachable = 0;
    }

    /// What is told of a list that failed, behind `what` it means; an error when the whole cluster seems to be gone.
    pub(crate) fn failed(
        &mut self,
        resource: &GroupResource,
        namespace: Option<String>,
        what: &str,
        error: velero_cluster::Error,
    ) -> Result<Record, Error> {
        let gone = match error.kind() {
            ErrorKind::Unauthorized => true,
            ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::TooManyRequests => {
                self.unreachable += 1;
                self.unreachable >= MAX_UNREACHABLE
            }
            _ => false,
        };
        if gone {
            return Err(Error::Cluster {
                operation: "listing the objects of the cluster",
                source: Box::new(error),
            });
        }
        // A kind that was discovered a moment ago and is not served now was deleted, and all its objects with it.
        let severity = if error.kind() == ErrorKind::Unserved {
            Severity::Warning
        } else {
            Severity::Error
        };
        let (namespace, message) = (
            namespace.unwrap_or_default(),
            format!("{what}: {}", chain(&error)),
        );
        Ok(Record::item(severity, resource, namespace, "", message))
    }
}

/// What is told of elements of a list that are no objects.
pub(crate) fn bad_element(
    resource: &GroupResource,
    element: &velero_cluster::BadElement,
) -> Record {
    let message = format!(
        "element {} of a list page is no object and not in the backup: {}",
        element.index, element.reason
    );
    Record::item(Severity::Error, resource, "", "", message)
}
