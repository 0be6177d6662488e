//! Starts of containers that a kill of the engine has cut off: before there was a shim (docs/adr/0047), and when the
//! program had begun (docs/adr/0057).

use std::{fs, path::Path};

use agent::{engine_tasks, runtime::architecture};
use bollard::models::ContainerStateStatusEnum;
use domain::{instance::State, quantity::Span};
use serde_json::{Value, json};

use super::{
    machine::{Machine, on_a_machine},
    node::{Node, once},
};

#[test]
fn a_container_whose_task_has_a_folder_and_no_shim_can_be_started_again() {
    on_a_machine(async |mut machine: Machine| {
        let container = machine.container().await;
        let state = machine.path("exec/containerd/daemon");
        let task = state.join("io.containerd.runtime.v2.task/moby");
        let task = task.join(&container);
        std::fs::create_dir_all(task.join("rootfs")).unwrap();
        std::fs::write(task.join("config.json"), "{}").unwrap();
        let start =
            async |machine: &Machine| machine.client().start_container(&container, None).await;
        let refused = start(&machine).await.unwrap_err().to_string();
        assert!(refused.contains("file exists"), "{refused}");

        machine.kill_engine().await;
        let removed = engine_tasks::remove_unbegun(&machine.path("data"), &state).unwrap();
        assert_eq!(removed, std::slice::from_ref(&container));
        machine.start_engine().await;
        start(&machine).await.unwrap();
    });
}

#[test]
fn a_command_that_had_begun_when_its_start_was_cut_off_is_not_begun_again() {
    const COMMAND: &[&str] = &["sleep", "600"];
    on_a_machine(async |machine: Machine| {
        let image = machine.image("job", "1000", COMMAND, architecture()).await;
        let mut node = Node::start(machine);
        let item = once(&image, COMMAND, Span::seconds(600));
        node.want(&[&item]);
        node.until("running", item.id, |report| report.state == State::Running)
            .await;

        node.machine.kill_engine().await;
        let data = node.machine.path("data");
        never_ran(&data);
        assert_eq!(engine_tasks::end_cut_off_starts(&data).unwrap().len(), 1);
        node.machine.start_engine().await;

        node.problem(&item, "start_cut_off").await;
        let name = format!("rh-{}", item.id);
        let found = node.machine.client().inspect_container(&name, None).await;
        let status = found.unwrap().state.unwrap().status;
        assert_eq!(status, Some(ContainerStateStatusEnum::CREATED));
    });
}

/// As if the engine had been killed before it noted that its only container runs.
fn never_ran(data: &Path) {
    let mut containers = fs::read_dir(data.join("containers")).unwrap();
    let file = containers.next().unwrap().unwrap().path();
    let file = file.join("config.v2.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    record["State"]["Running"] = json!(false);
    record["State"]["Pid"] = json!(0);
    record["State"]["StartedAt"] = json!("0001-01-01T00:00:00Z");
    fs::write(&file, record.to_string()).unwrap();
}
