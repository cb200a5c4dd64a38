//! Ending a run because somebody wants it ended, by an annotation of its resource.

use kube::core::ObjectMeta;
use velero_core::names::annotations;

/// Who wants the run of a resource to end, if anybody does; what stands behind `cancelled by`.
pub(super) fn cancelled_by(meta: &ObjectMeta) -> Option<String> {
    let said = meta.annotations.as_ref()?.get(annotations::CANCEL)?;
    Some(match said.trim() {
        "" => format!("the annotation {}", annotations::CANCEL),
        who => who.to_owned(),
    })
}

/// What a run that was cancelled says.
pub(super) fn reason(who: &str) -> String {
    format!("cancelled by {who}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cancels_is_named() {
        for (said, expected) in [
            (None, None),
            (Some("anna"), Some("anna")),
            (Some(" "), Some("the annotation x.velero.io/cancel")),
        ] {
            let mut meta = ObjectMeta::default();
            if let Some(said) = said {
                let said = (annotations::CANCEL.to_owned(), said.to_owned());
                meta.annotations = Some([said].into());
            }
            assert_eq!(cancelled_by(&meta).as_deref(), expected);
        }
    }
}
