//! From a remedy to steps, and to the way back from them. The way back is made of what was observed before
//! anything changed.

use rounds_core::investigation::{Proposal, ProposedStep};
use rounds_core::ports::Toolbox;
use rounds_core::step::{Mode, Refusal, StepSpec};

use super::observe::Observed;
use super::signatures::{Diagnosis, Remedy};

/// A plan and the way back from it.
#[derive(Debug)]
pub(crate) struct Plans {
    pub(crate) plan: Proposal,
    pub(crate) rescue: Proposal,
}

/// The steps of a remedy; `None` when it has none.
pub(crate) fn plans(observed: &Observed, diagnosis: &Diagnosis) -> Option<Plans> {
    let workload = &observed.workload;
    let (object, namespace) = (workload.object(), workload.namespace.as_str());
    let steps = Steps { observed };
    let (plan, rescue) = match &diagnosis.remedy {
        Remedy::None(_) => return None,
        Remedy::Undo { from, to, stuck_pods } => {
            let mut plan = vec![steps.undo(
                *to,
                format!(
                    "Returns the whole pod template of {object} to revision {to}, not only what is broken. Pods are replaced \
                     at the pace of its rollout strategy."
                ),
            )];
            plan.extend(stuck_pods.iter().map(|pod| steps.delete_stuck(pod)));
            plan.push(steps.watch());
            let note = format!("Brings revision {from} back, which failed when this plan was made.");
            (
                Proposal::new(format!("Undo the rollout of {object} in {namespace}: {}", diagnosis.cause))
                    .with_steps(plan),
                Proposal::new(format!("Return {object} in {namespace} to revision {from}, as it was before the plan"))
                    .with_steps([steps.undo(*from, note), steps.watch()]),
            )
        }
        Remedy::Scale { from, to } => {
            let note = format!("Starts {} more pods of {object}: they need room on the nodes.", to - from);
            let back = format!("Ends {} pods of {object}; {from} were wanted before the plan.", to - from);
            (
                Proposal::new(format!(
                    "Scale {object} in {namespace} from {from} to {to} replicas: {}",
                    diagnosis.cause
                ))
                .with_steps([steps.scale(*from, *to, note), steps.watch()]),
                Proposal::new(format!(
                    "Scale {object} in {namespace} back to {from} replicas, as it was before the plan"
                ))
                .with_steps([steps.scale(*to, *from, back)]),
            )
        }
        Remedy::RaiseMaximum { hpa, from, to } => (
            Proposal::new(format!(
                "Let the autoscaler {hpa} in {namespace} go up to {to} replicas: {}",
                diagnosis.cause
            ))
            .with_steps([steps.raise_maximum(hpa, *from, *to), steps.watch()]),
            Proposal::new(format!("Set the maximum of the autoscaler {hpa} in {namespace} back to {from}"))
                .with_steps([steps.maximum(hpa, *from, "Pods above the maximum are ended.".into())]),
        ),
    };
    Some(Plans { plan, rescue })
}

struct Steps<'a> {
    observed: &'a Observed,
}

impl Steps<'_> {
    fn step(&self, argv: &[&str], risk_note: String) -> ProposedStep {
        ProposedStep::new(self.observed.connector.id, StepSpec::command(argv.iter().copied())).with_risk_note(risk_note)
    }

    fn undo(&self, revision: i64, note: String) -> ProposedStep {
        let (object, namespace) = (self.observed.workload.object(), &self.observed.workload.namespace);
        let mut note = note;
        if let Some(manager) = self.observed.workload.managed_by() {
            note.push_str(&format!(" {manager} manages this workload and may put the change back."));
        }
        self.step(&["rollout", "undo", &object, "-n", namespace, &format!("--to-revision={revision}")], note)
    }

    fn delete_stuck(&self, pod: &str) -> ProposedStep {
        let object = self.observed.workload.object();
        let note = format!(
            "{object} waits for this broken pod before it replaces any, so it has to go once; it is made anew from the \
             returned template. If it has recovered by then, it restarts once."
        );
        // A pod that is already gone is no reason to stop.
        self.step(&["delete", "pod", pod, "-n", &self.observed.workload.namespace], note).continue_on_error()
    }

    fn scale(&self, from: i64, to: i64, note: String) -> ProposedStep {
        let (object, namespace) = (self.observed.workload.object(), &self.observed.workload.namespace);
        let mut note = note;
        // Scaling back must work whatever an autoscaler has made of it meanwhile; scaling up must not surprise.
        let (current, replicas) = (format!("--current-replicas={from}"), format!("--replicas={to}"));
        let mut argv = vec!["scale", object.as_str(), "-n", namespace.as_str(), replicas.as_str()];
        if to > from {
            argv.push(&current);
            note.push_str(&format!(" It does nothing unless {from} are still wanted when it runs."));
        }
        self.step(&argv, note)
    }

    /// Raising must not surprise, so it says what it takes the maximum to be.
    fn raise_maximum(&self, hpa: &str, from: i64, to: i64) -> ProposedStep {
        let patch = format!(
            "[{{\"op\":\"test\",\"path\":\"/spec/maxReplicas\",\"value\":{from}}},\
             {{\"op\":\"replace\",\"path\":\"/spec/maxReplicas\",\"value\":{to}}}]"
        );
        let namespace = &self.observed.workload.namespace;
        let note = format!(
            "The autoscaler may then start up to {} more pods. It does nothing unless the maximum is still {from} when it \
             runs.",
            to - from
        );
        self.step(&["patch", "horizontalpodautoscaler", hpa, "-n", namespace, "--type=json", "-p", &patch], note)
    }

    /// Setting it back must work whatever it is by then.
    fn maximum(&self, hpa: &str, to: i64, note: String) -> ProposedStep {
        let patch = format!("{{\"spec\":{{\"maxReplicas\":{to}}}}}");
        let namespace = &self.observed.workload.namespace;
        self.step(&["patch", "horizontalpodautoscaler", hpa, "-n", namespace, "--type=merge", "-p", &patch], note)
    }

    /// Reads only. A slow rollout is not a failed one, so the plan goes on; the alert is watched in any case.
    fn watch(&self) -> ProposedStep {
        let (object, namespace) = (self.observed.workload.object(), &self.observed.workload.namespace);
        let timeout = format!("--timeout={}s", self.observed.settings.rollout_timeout.as_secs());
        let note =
            "Only reads: waits for the rollout to finish. If that takes longer, the plan ends all the same and the \
                    alert is watched."
                .to_owned();
        self.step(&["rollout", "status", &object, "-n", namespace, &timeout], note).continue_on_error()
    }
}

/// Whether the gate would run every step; if not, which and why.
pub(crate) async fn review(tools: &dyn Toolbox, proposal: &Proposal) -> Result<(), (usize, Refusal)> {
    for (ordinal, step) in proposal.steps.iter().enumerate() {
        let reviewed = tools.review(step.connector_id, &step.spec, Mode::Write).await;
        reviewed.map_err(|refusal| (ordinal, refusal))?;
    }
    Ok(())
}
