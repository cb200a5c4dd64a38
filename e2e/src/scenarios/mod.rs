//! The registry: one module for each scenario, one line for each in [`all`].

mod api_conformance;
mod backup_faults;
mod backup_hooks;
mod bad_input;
mod cli;
mod control_plane_up;
mod delete_actions;
mod direct_s3;
mod leader_change;
mod least_privilege;
mod locations;
mod many_backups;
mod migrate;
mod operator_kill;
mod peer_archive;
mod peer_paths;
mod peer_reads_ours;
mod plan_matrix;
mod proxied_download;
mod restore_existing;
mod restore_faults;
mod restore_kill;
mod restore_mirror;
mod restore_waves;
mod sandbox_kubectl;
mod schedule_life;
mod writes_audited;

use crate::scenario::{Scenario, scenario};

/// All scenarios, in the order in which they run.
#[must_use]
pub fn all() -> Vec<Scenario> {
    ALL.to_vec()
}

const ALL: &[Scenario] = &[
    scenario!(
        "control-plane-up",
        "the control plane itself: pods run, claims bind, exec and the audit log work",
        smoke: true,
        minutes: 5,
        control_plane_up::run
    ),
    scenario!(
        "api-conformance",
        "the checks of the in-process API server hold on the real one",
        smoke: true,
        minutes: 5,
        api_conformance::run
    ),
    scenario!(
        "migrate",
        "a mixed world moves to another cluster through a bucket, and nothing is lost",
        smoke: true,
        minutes: 10,
        migrate::run
    ),
    scenario!(
        "peer-archive",
        "the peer's own backups give the states that the peer restored",
        smoke: true,
        minutes: 5,
        peer_archive::run
    ),
    scenario!(
        "peer-paths",
        "our backups of the peer's world hold what the peer's hold, in the same form",
        smoke: false,
        minutes: 5,
        peer_paths::run
    ),
    scenario!(
        "backup-faults",
        "history compacted, calls refused, an aggregated API down, a definition deleted while a backup reads",
        smoke: false,
        minutes: 10,
        backup_faults::run
    ),
    scenario!(
        "restore-outages",
        "the API server killed, and ended, and started again while a restore writes, waits for hooks, and runs in the operator",
        smoke: false,
        minutes: 15,
        restore_faults::go_and_come_back
    ),
    scenario!(
        "restore-faults",
        "definitions never served, calls and objects refused, webhooks without a server, a namespace held while a restore writes",
        smoke: false,
        minutes: 10,
        restore_faults::run
    ),
    scenario!(
        "backup-hooks",
        "commands run in pods around their backup and after their restore, fail in all ways, and are told and counted",
        smoke: false,
        minutes: 15,
        backup_hooks::run
    ),
    scenario!(
        "peer-reads-ours",
        "the peer's own code reads our archives and documents, nothing missing and nothing unknown",
        smoke: false,
        minutes: 20,
        peer_reads_ours::run
    ),
    scenario!(
        "plan-matrix",
        "in hundreds of situations a plan says what the restore then does, and changes nothing",
        smoke: false,
        minutes: 30,
        plan_matrix::run
    ),
    scenario!(
        "restore-existing",
        "what is there already: what clusters provide, owners, many equal objects, objects that cannot be changed",
        smoke: false,
        minutes: 10,
        restore_existing::run
    ),
    scenario!(
        "restore-waves",
        "what refuses others comes last, pods come before what makes pods, and a namespace that guards itself is restored whole",
        smoke: false,
        minutes: 10,
        restore_waves::run
    ),
    scenario!(
        "restore-kill",
        "restores killed at random points, and the same command after each: as if nobody had disturbed them",
        smoke: false,
        minutes: 25,
        restore_kill::run
    ),
    scenario!(
        "restore-mirror",
        "a cluster changed at random is what it was after a mirror, and nothing outside of the scope is touched",
        smoke: false,
        minutes: 15,
        restore_mirror::run
    ),
    scenario!(
        "writes-audited",
        "the API server saw our name on each call and a field manager on each write",
        smoke: false,
        minutes: 5,
        writes_audited::run
    ),
    scenario!(
        "schedule-life",
        "a schedule makes its backups, and they go with all their files when they have expired",
        smoke: true,
        minutes: 5,
        schedule_life::run
    ),
    scenario!(
        "leader-change",
        "of several operators one acts; another takes over from one that stops, is killed, or sleeps",
        smoke: true,
        minutes: 5,
        leader_change::run
    ),
    scenario!(
        "operator-kill",
        "an operator that is killed at random points loses no backup and no restore",
        smoke: true,
        minutes: 40,
        operator_kill::run
    ),
    scenario!(
        "locations",
        "locations go bad and come back, credentials change, and what cannot work is said by its field",
        smoke: false,
        minutes: 5,
        locations::run
    ),
    scenario!(
        "least-privilege",
        "an operator with rights for some kinds backs them up and restores them, and says what it may not",
        smoke: false,
        minutes: 5,
        least_privilege::run
    ),
    scenario!(
        "many-backups",
        "ten thousand backups in a bucket are found, the next one at once, and the API server is left alone meanwhile",
        smoke: false,
        minutes: 15,
        many_backups::run
    ),
    scenario!(
        "proxied-download",
        "files of stores out of reach come through the operator and the API server, to those who may",
        smoke: false,
        minutes: 5,
        proxied_download::run
    ),
    scenario!(
        "delete-actions",
        "a program with the operator in it deletes a backup: its actions see the items first, foreign files stay",
        smoke: false,
        minutes: 5,
        delete_actions::run
    ),
    scenario!(
        "direct-s3",
        "direct mode and the operator share a bucket",
        smoke: false,
        minutes: 10,
        direct_s3::run
    ),
    scenario!(
        "bad-input",
        "wrong input gives one clear line, a failing exit code, and nothing half-written",
        smoke: true,
        minutes: 5,
        bad_input::run
    ),
    scenario!(
        "cli",
        "the command line from installation to deletion, against an operator on S3",
        smoke: false,
        minutes: 5,
        cli::run
    ),
    scenario!(
        "sandbox-kubectl",
        "kubectl and the command line work against the sandbox",
        smoke: false,
        minutes: 5,
        sandbox_kubectl::run
    ),
];
