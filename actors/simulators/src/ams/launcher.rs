use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use crate::instance::Behaviour;

/// Runs the program of an instance once AMS has booted it.
pub type Launcher = Arc<dyn Fn(Boot) -> InstanceExit + Send + Sync>;

/// Ends with the program, by itself or soon after [`Boot::stop`]; an error is told to the askers of
/// AMS. Dropping it is all that AMS can do about a program that does not stop.
pub type InstanceExit = BoxFuture<'static, Result<(), String>>;

/// An instance about to run. Its user data holds a token, so it is never printed.
pub struct Boot {
    pub id: String,
    pub name: String,
    /// What the instance works by: the answer of the agent for one that streams, else what the
    /// launch handed over, as it came.
    pub user_data: String,
    /// What the launch handed over, also beside the answer of the agent.
    pub launch_user_data: String,
    /// Whether its image is automotive.
    pub automotive: bool,
    /// Turns true when the instance is to stop.
    pub stop: watch::Receiver<bool>,
}

/// Returns a launcher of instances that run nothing, until they are stopped.
pub fn idle_instances() -> Launcher {
    Arc::new(|boot| {
        Box::pin(async move {
            let mut stop = boot.stop;
            stop_requested(&mut stop).await;
            Ok(())
        })
    })
}

/// Returns a launcher that hands every instance over to whoever plays it: it runs until it is told
/// to stop, and fails when nobody is there to play it.
pub fn scripted_instances(players: mpsc::UnboundedSender<Boot>) -> Launcher {
    Arc::new(move |boot| {
        let mut stop = boot.stop.clone();
        let taken = players.send(boot);
        Box::pin(async move {
            taken.map_err(|_| "nobody plays instances any more".to_owned())?;
            stop_requested(&mut stop).await;
            Ok(())
        })
    })
}

/// Returns a launcher that runs an instance simulator for each instance, on a thread of its own.
pub fn simulated_instances() -> Launcher {
    simulated_instances_with(Behaviour::default())
}

/// Returns a launcher as [`simulated_instances`] does, whose instances play their part as
/// `behaviour` says; those of an automotive image are automotive in any case.
pub fn simulated_instances_with(behaviour: Behaviour) -> Launcher {
    Arc::new(move |boot| {
        let automotive = boot.automotive || behaviour.automotive;
        let behaviour = Behaviour { automotive, ..behaviour.clone() };
        let (ended, end) = oneshot::channel();
        let thread = format!("instance {}", boot.id);
        let spawned = std::thread::Builder::new().name(thread).spawn(move || {
            // Nobody listens any more when the instance took too long to stop.
            let _ = ended.send(run_here(boot, behaviour));
        });
        Box::pin(async move {
            spawned.map_err(|error| format!("cannot start a thread: {error}"))?;
            end.await.unwrap_or_else(|_| Err("the instance crashed".to_owned()))
        })
    })
}

fn run_here(boot: Boot, behaviour: Behaviour) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    let instance = crate::instance::run(boot.user_data, behaviour, boot.stop);
    LocalSet::new().block_on(&runtime, instance).map_err(|error| error.to_string())
}

/// Waits until the instance is to stop. An AMS that is gone wants nothing of it either.
pub(crate) async fn stop_requested(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|asked| *asked).await;
}
