//! A start of a container that a kill of the engine has cut off before there was a shim (docs/adr/0047).

use agent::engine_tasks;

use super::machine::{Machine, on_a_machine};

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
