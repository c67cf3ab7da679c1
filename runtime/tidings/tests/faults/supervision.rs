//! Strategies, tasks and the tree, on a whole node.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tidings::api::{ChildInfo, ServiceInfo};
use tidings::prelude::*;
use tidings::testkit::TestNode;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::{Dose, Journal, dose};

fn tree(node: &TestNode, group: &str) -> ServiceInfo {
    let services = node.handle().services();
    services.into_iter().find(|service| service.group == group).expect("it runs here")
}

/// Waits, in virtual time, for a tree of this kind.
async fn tree_when(
    node: &TestNode,
    group: &str,
    is_so: impl Fn(&ServiceInfo) -> bool,
) -> ServiceInfo {
    for _ in 0..100_000 {
        let tree = tree(node, group);
        if is_so(&tree) {
            return tree;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not come about: {:?}", tree(node, group));
}

fn child<'a>(tree: &'a ServiceInfo, name: &str) -> &'a ChildInfo {
    tree.children.iter().find(|child| child.name == name).expect("it is in the tree")
}

/// Its workers need a connection that a task holds.
struct Connected {
    journal: Journal,
}

static CUT: Notify = Notify::const_new();
static N_CONNECTED: AtomicU32 = AtomicU32::new(0);

impl Service for Connected {
    const GROUP: &'static str = "connected";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(2).on::<Dose>(|handler| handler).strategy(Strategy::RestForOne).task(
            "connection",
            Restart::Permanent,
            |_| async {
                N_CONNECTED.fetch_add(1, Ordering::Relaxed);
                CUT.notified().await;
                Err(Failure::again("lost its connection"))
            },
        )
    }
}

impl Handle<Dose> for Connected {
    async fn handle(&mut self, dose: Dose, cx: &mut Cx) -> Handled {
        sleep(Duration::from_millis(10)).await;
        self.journal.note(&dose, cx);
        Ok(())
    }
}

/// A task that dies must take along the workers that were started behind it, and nothing else may
/// come of it: what they ran is finished, and what they held comes back unattempted. We cut a
/// connection while a hundred events wait.
#[tokio::test(start_paused = true)]
async fn task_takes_along_the_workers_behind_it_and_no_event_is_charged() {
    let (journal, n_made) = (Journal::default(), std::sync::Arc::new(AtomicU32::new(0)));
    let (for_workers, made) = (journal.clone(), n_made.clone());
    let connected = move || {
        made.fetch_add(1, Ordering::Relaxed);
        Connected { journal: for_workers.clone() }
    };
    let node = TestNode::builder().service(connected).start().await;
    let events: Vec<_> = (0..100).map(|n| dose(&format!("u{}", n % 7), n)).collect();
    node.publisher().publish_all(&events).await.unwrap();
    journal.until(|seen| seen.1 == 40).await;
    CUT.notify_one();
    node.settled("connected").await;
    assert_eq!(journal.all().len(), 100, "none was run twice");
    assert!(journal.all().iter().all(|seen| seen.2 == 1), "none was charged");
    let lives = (n_made.load(Ordering::Relaxed), N_CONNECTED.load(Ordering::Relaxed));
    assert_eq!(lives, (4, 2));
    let tree = tree_when(&node, "connected", |tree| tree.restarts == 3).await;
    let names: Vec<_> = tree.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["task connection", "worker 0", "worker 1"]);
    let task = child(&tree, "task connection");
    assert_eq!((task.state.as_str(), task.restarts), ("up", 1));
    assert_eq!(task.last_reason.as_deref(), Some("lost its connection"));
    let worker = child(&tree, "worker 0");
    assert_eq!((worker.restarts, &worker.last_reason), (1, &None), "it was asked to end");
}

/// Two tasks that end: one has nothing more to do, the other cannot do it.
struct Ending;

impl Service for Ending {
    const GROUP: &'static str = "ending";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(1)
            .on::<Dose>(|handler| handler)
            .task("once", Restart::Transient, |_| async { Ok(()) })
            .task("never", Restart::Temporary, |_| async { panic!("meant to happen") })
    }
}

impl Handle<Dose> for Ending {
    async fn handle(&mut self, _: Dose, _: &mut Cx) -> Handled {
        Ok(())
    }
}

/// A transient task that is done and a temporary one that died must both stay gone, and the service
/// must go on.
#[tokio::test(start_paused = true)]
async fn tasks_stay_gone_as_their_kind_says() {
    let node = TestNode::start(|| Ending).await;
    let are_gone = |tree: &ServiceInfo| {
        ["task once", "task never"].iter().all(|name| child(tree, name).state == "gone")
    };
    let tree = tree_when(&node, "ending", are_gone).await;
    assert_eq!((tree.state.as_str(), tree.restarts), ("running", 0));
    let reason = child(&tree, "task never").last_reason.clone().expect("it died");
    assert!(reason.contains("meant to happen"), "{reason}");
    node.publish(dose("ann", 1)).await;
    node.settled("ending").await;
}

/// Its task cannot run.
struct Hopeless;

impl Service for Hopeless {
    const GROUP: &'static str = "hopeless";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(1)
            .on::<Dose>(|handler| handler)
            .task("poll", Restart::Permanent, |_| async { Err(Failure::again("no such host")) })
    }
}

impl Handle<Dose> for Hopeless {
    async fn handle(&mut self, _: Dose, _: &mut Cx) -> Handled {
        Ok(())
    }
}

/// A task that dies again and again must stop its service and no other, which says why; its backlog
/// waits.
#[tokio::test(start_paused = true)]
async fn hopeless_task_stops_its_service_alone() {
    let node = TestNode::builder().service(|| Hopeless).service(|| Ending).start().await;
    let tree = tree_when(&node, "hopeless", |tree| tree.state == "stopped").await;
    let reason = tree.reason.clone().expect("it says why");
    assert!(reason.contains("task poll died too often: no such host"), "{reason}");
    node.publish(dose("ann", 1)).await;
    node.settled("ending").await;
    let groups = node.handle().groups().await.unwrap();
    let lag = groups.iter().find(|group| group.name == "hopeless").map(|group| group.lag);
    assert_eq!(lag, Some(1));
    tree_when(&node, "hopeless", |tree| child(tree, "worker 0").state == "gone").await;
}

/// Waits until it is let go.
struct Patient;

static GO: Notify = Notify::const_new();

impl Service for Patient {
    const GROUP: &'static str = "patient";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(1).on::<Dose>(|handler| handler)
    }
}

impl Handle<Dose> for Patient {
    async fn handle(&mut self, _: Dose, _: &mut Cx) -> Handled {
        GO.notified().await;
        Ok(())
    }
}

/// The tree must tell which event a worker is at, which attempt, and for how long.
#[tokio::test(start_paused = true)]
async fn tree_tells_what_a_worker_is_at() {
    let node = TestNode::start(|| Patient).await;
    node.publish(dose("ann", 1)).await;
    let is_old = |tree: &ServiceInfo| {
        let running = &child(tree, "worker 0").running;
        running.as_ref().is_some_and(|running| running.running_ms >= 2_000)
    };
    let tree = tree_when(&node, "patient", is_old).await;
    let worker = child(&tree, "worker 0");
    let running = worker.running.as_ref().expect("just seen");
    assert_eq!((running.topic.as_str(), running.offset, running.attempt), ("doses", 0, 1));
    assert_eq!((running.kind.as_str(), worker.holds), ("dose.given.v1", 1));
    assert_eq!(worker.blocked_ms, None, "it waits and holds no thread");
    GO.notify_one();
    node.settled("patient").await;
    tree_when(&node, "patient", |tree| child(tree, "worker 0").running.is_none()).await;
}
