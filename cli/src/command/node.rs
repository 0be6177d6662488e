//! `node`: machines (or clusters) of the platform. For administrators of the platform.

mod machine;
mod orphan;
mod remove;
mod text;
mod token;

use ::api::{
    client::Client,
    node::{FenceNode, Node, OverrideNode, UpdateNode},
};
use clap::Subcommand;
use domain::{id::InstanceId, name::Name, ring::Ring};

use crate::{
    confirm,
    context::Context,
    error::Result,
    node_join::{self, Options},
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the nodes
    List {
        /// Only those of this region
        #[arg(long)]
        region: Option<Name>,
    },
    /// Show a node, or a machine's agent and edge, with the feeds that each follows
    Get {
        /// Name or id
        node: String,
    },
    /// Make a single-use token that lets a machine join, and show the command to run there
    Token(token::Arguments),
    /// Make this machine a node: agent, edge and build engine as systemd units. Run again it changes nothing
    Join(Box<Options>),
    /// Take away from this machine what node join has made
    Leave,
    /// Empty a node: its instances are replaced elsewhere
    Drain {
        /// Name or id
        node: String,
    },
    /// Place nothing new on a node; what runs there goes on
    Cordon {
        /// Name or id
        node: String,
    },
    /// Take a drained or cordoned node back into service
    Uncordon {
        /// Name or id
        node: String,
    },
    /// Declare a silent node dead: what it ran is placed elsewhere at once, also what may never run twice
    Fence {
        /// Name or id
        node: String,
        /// For the audit log
        #[arg(long)]
        reason: String,
    },
    /// Expel a machine, its agent and its edge: their certificates are refused from now on
    Remove {
        /// Name, or the id of one of the two
        node: String,
    },
    /// Say when changes of the platform itself reach an edge: canary first, then region, then all
    Ring {
        /// Name or id
        node: String,
        /// canary, region or all
        ring: Ring,
    },
    /// List instances that run although a restored database does not know them
    Orphans,
    /// Let an orphan go: its node ends it
    LetGo {
        /// The instance's id, from railhead node orphans
        instance: InstanceId,
    },
    /// Let a node drop what its brake holds
    Override {
        /// Name or id
        node: String,
        /// Such as routes/global; node get shows which holds something
        #[arg(long)]
        feed: String,
        /// For the audit log
        #[arg(long)]
        reason: String,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    // Whoever needs it fails without; what is done on the machine itself needs nobody signed in.
    let client = context.client();
    match command {
        Command::Join(options) => node_join::join(context.output, &options).await,
        Command::Leave => node_join::leave(context.output),
        Command::List { region } => list(context, &client?, region).await,
        Command::Get { node } => get(context, &client?, &node).await,
        Command::Token(arguments) => token::run(context, &client?, arguments).await,
        Command::Drain { node } => drain(context, &client?, &node).await,
        Command::Cordon { node } => {
            let change = changed(Some(false), None);
            update(
                context,
                &client?,
                &node,
                change,
                "is cordoned: nothing new is placed there",
            )
            .await
        }
        Command::Uncordon { node } => {
            let change = changed(Some(true), Some(false));
            update(context, &client?, &node, change, "is in service").await
        }
        Command::Ring { node, ring } => follow(context, &client?, &node, ring).await,
        Command::Orphans => orphan::list(context, &client?).await,
        Command::LetGo { instance } => orphan::let_go(context, &client?, instance).await,
        Command::Fence { node, reason } => {
            let body = FenceNode { reason };
            fence(context, &client?, &node, &body).await
        }
        Command::Remove { node } => remove::run(context, &client?, &node).await,
        Command::Override { node, feed, reason } => {
            let body = OverrideNode { feed, reason };
            release(context, &client?, &node, &body).await
        }
    }
}

async fn list(context: &Context, client: &Client, region: Option<Name>) -> Result {
    let mut nodes: Vec<Node> = client.list("/v1/nodes").await?;
    nodes.retain(|node| region.as_ref().is_none_or(|region| node.region == *region));
    context.output.list(
        &nodes,
        |nodes| text::table(nodes, chrono::Utc::now()),
        "no nodes have joined yet: railhead node token --region REGION",
    )
}

/// A machine's agent and edge are shown both.
async fn get(context: &Context, client: &Client, wanted: &str) -> Result {
    let nodes = machine::nodes(client, wanted).await?;
    let text = || text::details(context.output, &nodes, chrono::Utc::now());
    match nodes.as_slice() {
        [node] => context.output.show(node, text),
        nodes => context.output.show(&nodes, text),
    }
}

async fn drain(context: &Context, client: &Client, wanted: &str) -> Result {
    let node = machine::node(client, wanted).await?;
    confirm::question(
        context.output,
        &format!(
            "All instances on {} in {} are replaced elsewhere. Drain it?",
            node.name, node.region
        ),
    )?;
    let change = changed(Some(false), Some(true));
    apply(
        context,
        client,
        &node,
        change,
        "is being emptied: railhead node list shows what is left",
    )
    .await
}

async fn update(
    context: &Context,
    client: &Client,
    wanted: &str,
    change: UpdateNode,
    done: &str,
) -> Result {
    let node = machine::node(client, wanted).await?;
    apply(context, client, &node, change, done).await
}

async fn follow(context: &Context, client: &Client, wanted: &str, ring: Ring) -> Result {
    let edge = machine::edge(client, wanted).await?;
    let change = UpdateNode {
        ring: Some(ring),
        ..UpdateNode::default()
    };
    let done = format!("follows ring {ring} from its next report on");
    apply(context, client, &edge, change, &done).await
}

async fn apply(
    context: &Context,
    client: &Client,
    node: &Node,
    change: UpdateNode,
    done: &str,
) -> Result {
    let path = format!("/v1/nodes/{}", node.id);
    let etag = format!("\"{}\"", node.version);
    let node: Node = client.patch(&path, &etag, &change).await?;
    context.output.done(&format!("{} {done}", node.name))?;
    context.output.record_if_json(&node)
}

async fn fence(context: &Context, client: &Client, wanted: &str, body: &FenceNode) -> Result {
    let node = machine::node(client, wanted).await?;
    confirm::destruction(
        context.output,
        "fence the node",
        node.name.as_str(),
        "what it ran starts elsewhere at once: be sure that the machine is off, or it runs twice",
    )?;
    let path = format!("/v1/nodes/{}/fence", node.id);
    let fenced: Node = client.post(&path, body).await?;
    context.output.done(&format!(
        "{} is fenced: what it ran is placed elsewhere; when it comes back it ends what it has",
        fenced.name
    ))?;
    context.output.record_if_json(&fenced)
}

async fn release(context: &Context, client: &Client, wanted: &str, body: &OverrideNode) -> Result {
    let node = machine::follower(client, wanted, &body.feed).await?;
    confirm::destruction(
        context.output,
        "drop what is held on",
        node.name.as_str(),
        "what the brake holds is dropped: look first at railhead node get",
    )?;
    let path = format!("/v1/nodes/{}/override", node.id);
    let _: serde_json::Value = client.post(&path, body).await?;
    context.output.done(&format!(
        "{} drops what it held of {}",
        node.name, body.feed
    ))
}

const fn changed(schedulable: Option<bool>, draining: Option<bool>) -> UpdateNode {
    UpdateNode {
        schedulable,
        draining,
        ring: None,
    }
}
