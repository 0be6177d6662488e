//! The world of a script: one service on some nodes. A plan is carried out as soon as it is made: what is
//! placed is coming and what is stopped is leaving, until a step says more.

use std::{collections::BTreeMap, error::Error, str::FromStr};

use super::*;

#[derive(Default)]
pub(super) struct World {
    nodes: Vec<Node>,
    instances: Vec<Instance>,
    /// What was deployed, by deployment; its replicas are those of today's scale.
    deployed: BTreeMap<u32, Goal>,
    replicas: BTreeMap<Name, u32>,
    current: Option<u32>,
    target: Option<u32>,
    /// Instances are numbered as they are placed.
    placed: u32,
}

impl World {
    /// Does what a line of a script says.
    pub(super) fn take(&mut self, step: &str) -> Result<(), Box<dyn Error>> {
        let words: Vec<&str> = step.split_whitespace().collect();
        match words[..] {
            ["node", n, "in", region, cpu, "mCPU", memory, "MiB"] => {
                let room = amount(cpu.parse()?, memory.parse()?);
                self.nodes.push(node(n.parse()?, region, room));
            }
            ["scale", ref regions @ ..] => self.scale(regions)?,
            [
                "deploy",
                n,
                "needs",
                cpu,
                "mCPU",
                memory,
                "MiB",
                ref how @ ..,
            ] => {
                let mut goal = goal(n.parse()?, &[], amount(cpu.parse()?, memory.parse()?));
                goal.strategy = match how {
                    [] => Strategy::Rolling,
                    ["recreate"] => Strategy::Recreate,
                    _ => return Err("no such strategy".into()),
                };
                self.deploy(n.parse()?, goal);
            }
            // A new deployment of an older one's release.
            ["rollback", n, "to", older] => {
                let older = self.deployed.get(&older.parse()?).ok_or("never deployed")?;
                let n = n.parse()?;
                let deployment_id = goal(n, &[], Amount::default()).deployment_id;
                let goal = Goal {
                    deployment_id,
                    ..older.clone()
                };
                self.deploy(n, goal);
            }
            ["live"] => self.current = Some(self.target.take().ok_or("nothing is deployed")?),
            ["cancel"] => self.target = None,
            ["ready"] => self.come_up(),
            ["gone"] => self.retain(|world, instance| {
                instance.phase != Phase::Leaving || !world.reports(instance)
            }),
            ["ended", n] => {
                let id = instance(n.parse()?, 0, 0, Phase::Ended).id;
                let mut instances = self.instances.iter_mut();
                let ended = instances.find(|instance| instance.id == id);
                ended.ok_or("no such instance")?.phase = Phase::Ended;
            }
            ["late", n] => self.node(n)?.liveness = Liveness::Late,
            ["lost", n] => self.node(n)?.liveness = Liveness::Lost,
            ["back", n] => self.node(n)?.liveness = Liveness::Punctual,
            ["failing", n, instances] => self.node(n)?.recent_failures = instances.parse()?,
            ["drain", n] => self.node(n)?.draining = true,
            ["cordon", n] => self.node(n)?.schedulable = false,
            ["uncordon", n] => {
                let node = self.node(n)?;
                (node.schedulable, node.draining) = (true, false);
            }
            // All that it ran counts as ended (docs/adr/0026).
            ["fence", n] => {
                let node = self.node(n)?;
                (node.liveness, node.schedulable) = (Liveness::Gone, false);
                let id = node.id;
                self.retain(|_, instance| instance.node_id != id);
            }
            _ => return Err("no such step".into()),
        }
        Ok(())
    }

    /// Asks for the plan, carries it out, and says what it was. Without anything deployed there is no question.
    pub(super) fn follow(&mut self) -> Vec<String> {
        let deployed = [self.current, self.target].into_iter().flatten();
        let goals: Vec<Goal> = deployed
            .map(|n| Goal {
                replicas: self.replicas.clone(),
                ..self.deployed[&n].clone()
            })
            .collect();
        if goals.is_empty() && self.instances.is_empty() {
            return Vec::new();
        }
        let plan = ask(&self.nodes, &self.instances, &goals);
        let mut lines = Vec::new();
        lines.extend(plan.placements.iter().map(|p| self.place(p)));
        lines.extend(plan.stops.iter().map(|s| self.stop(s)));
        lines.extend(plan.exhausted.iter().map(blocked));
        if lines.is_empty() {
            lines.push("nothing".to_owned());
        }
        lines
    }

    fn place(&mut self, p: &Placement) -> String {
        self.placed += 1;
        let (d, n) = (number(p.deployment_id.uuid()), number(p.node_id.uuid()));
        self.instances
            .push(instance(self.placed, d, n, Phase::Coming));
        let mut nodes = self.nodes.iter_mut();
        let node = nodes.find(|node| node.id == p.node_id).unwrap();
        node.reserved = node.reserved.plus(p.resources);
        let release = match number(p.release_id.uuid()) {
            own if own == d => String::new(),
            older => format!(" (release {older})"),
        };
        format!(
            "place instance {} of deployment {d}{release} on node {n} in {}",
            self.placed, p.region
        )
    }

    fn stop(&mut self, stop: &Stop) -> String {
        let mut instances = self.instances.iter_mut();
        let instance = instances.find(|i| i.id == stop.instance_id).unwrap();
        instance.phase = Phase::Leaving;
        format!(
            "stop instance {} of deployment {} on node {}: {}",
            number(instance.id.uuid()),
            number(instance.deployment_id.uuid()),
            number(instance.node_id.uuid()),
            stop.cause.as_str()
        )
    }

    fn scale(&mut self, regions: &[&str]) -> Result<(), Box<dyn Error>> {
        self.replicas.clear();
        for region in regions {
            let (region, replicas) = region.split_once('=').ok_or("not region=replicas")?;
            self.replicas
                .insert(Name::from_str(region)?, replicas.parse()?);
        }
        Ok(())
    }

    fn deploy(&mut self, n: u32, goal: Goal) {
        self.deployed.insert(n, goal);
        self.target = Some(n);
    }

    fn node(&mut self, n: &str) -> Result<&mut Node, Box<dyn Error>> {
        let id = node(n.parse()?, "any", Amount::default()).id;
        let found = self.nodes.iter_mut().find(|node| node.id == id);
        Ok(found.ok_or("no such node")?)
    }

    /// Whether anything is heard of an instance.
    fn reports(&self, instance: &Instance) -> bool {
        let mut nodes = self.nodes.iter();
        nodes.any(|node| node.id == instance.node_id && node.liveness == Liveness::Punctual)
    }

    fn come_up(&mut self) {
        let mut instances = std::mem::take(&mut self.instances);
        for instance in &mut instances {
            if instance.phase == Phase::Coming && self.reports(instance) {
                instance.phase = Phase::Ready;
            }
        }
        self.instances = instances;
    }

    /// The others have ended; their room is given back.
    fn retain(&mut self, stays: impl Fn(&Self, &Instance) -> bool) {
        let instances = std::mem::take(&mut self.instances);
        let (staying, ended): (Vec<_>, Vec<_>) =
            instances.into_iter().partition(|i| stays(self, i));
        self.instances = staying;
        for instance in ended {
            let held = self.deployed[&number(instance.deployment_id.uuid())].resources;
            let mut nodes = self.nodes.iter_mut();
            let node = nodes.find(|node| node.id == instance.node_id).unwrap();
            node.reserved = node.reserved.minus(held);
        }
    }
}
