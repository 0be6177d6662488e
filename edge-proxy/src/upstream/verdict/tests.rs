//! Whatever happens in whatever order: an address at which somebody was refused is used again only after its agent,
//! asked once something listened there again, has said that the instance holds it.

use proptest::{
    collection::vec,
    prelude::*,
    strategy::Union,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

use super::*;

/// Who holds the address, as only the test knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Own,
    Nobody,
    Stranger,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Our instance takes connections, or takes none.
    Listens(bool),
    /// It is gone.
    Ends,
    /// Somebody else gets its address, and takes connections.
    IsTaken,
    AgentIsAway(bool),
    /// A request is sent there, whatever is known.
    Connects,
    ProbeBegins,
    ProbeConnects,
    ProbeEnds,
    QuestionBegins,
    AgentReads,
    QuestionEnds,
}

#[derive(Debug)]
struct Probe {
    begun: Verdict,
    connected: Option<bool>,
}

#[derive(Debug)]
struct Question {
    asked: Verdict,
    /// Its agent's answer, or that there is none.
    answer: Option<Option<bool>>,
}

/// What an edge could forget; the checks must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    WhenQuestionsBegan,
    WhenProbesBegan,
}

#[derive(Debug)]
struct World {
    mistake: Option<Mistake>,
    holder: Holder,
    listens: bool,
    agent_is_away: bool,
    verdict: Verdict,
    probe: Option<Probe>,
    question: Option<Question>,
    refused: bool,
    /// Something took a connection since the last refusal.
    listened: bool,
    /// After that, the agent has seen our instance hold the address.
    seen: bool,
    /// After that, the agent was away.
    silent: bool,
    /// Somebody was refused when our instance was gone.
    refused_when_gone: bool,
    /// The edge has heard a no.
    heard_no: bool,
}

impl World {
    fn new(mistake: Option<Mistake>) -> Self {
        Self {
            mistake,
            holder: Holder::Own,
            listens: true,
            agent_is_away: false,
            verdict: Verdict::default(),
            probe: None,
            question: None,
            refused: false,
            listened: false,
            seen: false,
            silent: false,
            refused_when_gone: false,
            heard_no: false,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Listens(listens) if self.holder == Holder::Own => self.listens = listens,
            // Only its agent ends it, and gives its address away.
            Step::Ends if !self.agent_is_away && self.holder == Holder::Own => {
                (self.holder, self.listens) = (Holder::Nobody, false);
            }
            Step::IsTaken if !self.agent_is_away && self.holder == Holder::Nobody => {
                (self.holder, self.listens) = (Holder::Stranger, true);
            }
            Step::AgentIsAway(away) => self.agent_is_away = away,
            Step::Connects if !self.listens => self.refused(),
            Step::ProbeBegins | Step::ProbeConnects | Step::ProbeEnds => self.probe(step),
            Step::QuestionBegins | Step::AgentReads | Step::QuestionEnds => self.question(step),
            _ => {}
        }
    }

    fn refused(&mut self) {
        self.verdict = self.verdict.refused();
        (self.refused, self.listened) = (true, false);
        (self.seen, self.silent) = (false, false);
        self.refused_when_gone |= self.holder != Holder::Own;
    }

    fn probe(&mut self, step: Step) {
        match (step, &mut self.probe) {
            (Step::ProbeBegins, None) => {
                self.probe = Some(Probe {
                    begun: self.verdict,
                    connected: None,
                });
            }
            (Step::ProbeConnects, Some(probe)) if probe.connected.is_none() => {
                probe.connected = Some(self.listens);
                self.listened |= self.listens;
            }
            (Step::ProbeEnds, Some(probe)) => {
                let (begun, connected) = (probe.begun, probe.connected);
                let begun = self.known(begun, Mistake::WhenProbesBegan);
                match connected {
                    Some(true) => self.verdict = self.verdict.passed(begun),
                    Some(false) => self.refused(),
                    None => return,
                }
                self.probe = None;
            }
            _ => {}
        }
    }

    fn question(&mut self, step: Step) {
        match (step, &mut self.question) {
            (Step::QuestionBegins, None) if self.verdict.wants_answer() => {
                self.question = Some(Question {
                    asked: self.verdict,
                    answer: None,
                });
            }
            (Step::AgentReads, Some(question)) if question.answer.is_none() => {
                let holds = self.holder == Holder::Own;
                question.answer = Some((!self.agent_is_away).then_some(holds));
                self.seen |= self.listened && holds && !self.agent_is_away;
                self.silent |= self.listened && self.agent_is_away;
            }
            (Step::QuestionEnds, Some(question)) => {
                let (asked, answer) = (question.asked, question.answer);
                let asked = self.known(asked, Mistake::WhenQuestionsBegan);
                self.heard_no |= answer == Some(Some(false));
                self.verdict = match answer {
                    Some(Some(holds)) => self.verdict.answered(asked, holds),
                    Some(None) => self.verdict.unanswered(asked),
                    None => return,
                };
                self.question = None;
            }
            _ => {}
        }
    }

    fn known(&self, at_first: Verdict, mistake: Mistake) -> Verdict {
        match self.mistake {
            Some(made) if made == mistake => self.verdict,
            _ => at_first,
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(Verdict::of(self.verdict.word()), self.verdict);
        if !self.verdict.is_usable() {
            return Ok(());
        }
        prop_assert!(!self.heard_no, "used against a no: {self:?}");
        if !self.refused {
            return Ok(());
        }
        prop_assert!(self.seen || self.silent, "used without a new yes: {self:?}");
        prop_assert!(
            self.silent || !self.refused_when_gone,
            "a stranger's: {self:?}"
        );
        Ok(())
    }
}

fn histories(agent_may_be_away: bool) -> impl Strategy<Value = Vec<Step>> {
    let mut all = vec![
        any::<bool>().prop_map(Step::Listens).boxed(),
        Just(Step::Ends).boxed(),
        Just(Step::IsTaken).boxed(),
        Just(Step::Connects).boxed(),
    ];
    if agent_may_be_away {
        all.push(any::<bool>().prop_map(Step::AgentIsAway).boxed());
    }
    let often = [
        Step::ProbeBegins,
        Step::ProbeConnects,
        Step::ProbeEnds,
        Step::QuestionBegins,
        Step::AgentReads,
        Step::QuestionEnds,
    ];
    all.extend(often.map(|step| Just(step).boxed()));
    vec(Union::new(all), 1..80)
}

fn run(steps: &[Step], mistake: Option<Mistake>) -> Result<World, TestCaseError> {
    let mut world = World::new(mistake);
    for step in steps {
        world.step(*step);
        world.check()?;
    }
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_refused_address_is_used_again_only_by_a_yes_from_after_something_listened(steps in histories(false)) {
        let world = run(&steps, None)?;
        prop_assert!(!world.silent);
    }

    #[test]
    fn an_agent_that_is_away_leaves_a_yes_standing_but_never_its_no(steps in histories(true)) {
        run(&steps, None)?;
    }
}

#[test]
fn an_edge_that_forgets_when_something_began_is_found() {
    for mistake in [Mistake::WhenQuestionsBegan, Mistake::WhenProbesBegan] {
        let config = ProptestConfig {
            cases: 20_000,
            failure_persistence: None,
            max_shrink_iters: 0,
            ..ProptestConfig::default()
        };
        let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(config, chance);
        let found = runner.run(&histories(false), |steps| {
            run(&steps, Some(mistake)).map(drop)
        });
        assert!(found.is_err(), "nobody notices {mistake:?}");
    }
}

/// One after the other.
fn after(steps: impl IntoIterator<Item = Step>) -> World {
    run(&steps.into_iter().collect::<Vec<_>>(), None).unwrap()
}

const PROBED: [Step; 3] = [Step::ProbeBegins, Step::ProbeConnects, Step::ProbeEnds];
const ASKED: [Step; 3] = [Step::QuestionBegins, Step::AgentReads, Step::QuestionEnds];
const REFUSED: [Step; 2] = [Step::Listens(false), Step::Connects];

#[test]
fn what_is_started_again_in_place_is_used_again_also_while_its_agent_is_away() {
    for away in [false, true] {
        let first = [&ASKED[..], &PROBED, &REFUSED].concat();
        let back = [Step::Listens(true), Step::AgentIsAway(away)];
        let again = [&back[..], &PROBED, &ASKED].concat();
        assert!(!after(first.clone()).verdict.is_usable());
        let verdict = after([first, again].concat()).verdict;
        assert!(verdict.is_usable());
        assert_eq!(verdict.wants_answer(), away, "it owes an answer");
    }
}

#[test]
fn a_yes_counts_only_when_it_was_asked_for_after_something_listened_again() {
    let listening = [&ASKED[..], &PROBED].concat();
    let asked_before = [Step::QuestionBegins, Step::AgentReads];
    let back = [&[Step::Listens(true)][..], &PROBED].concat();
    let too_early = [&listening[..], &REFUSED, &asked_before, &back[..]].concat();
    let answered = after([&too_early[..], &[Step::QuestionEnds]].concat()).verdict;
    assert_eq!(answered.confirmed, Confirmed::Doubted);
    assert!(answered.wants_answer());
    let again = [&too_early[..], &[Step::QuestionEnds], &ASKED].concat();
    assert!(after(again).verdict.is_usable());
}

#[test]
fn a_probe_that_had_connected_before_the_refusal_brings_nothing_up() {
    let begun = [Step::ProbeBegins, Step::ProbeConnects];
    let late = [&ASKED[..], &begun, &REFUSED, &[Step::ProbeEnds]].concat();
    assert_eq!(after(late).verdict.health, Health::Down);
}

#[test]
fn a_yes_after_a_no_must_be_said_again_when_somebody_was_refused_meanwhile() {
    let verdict = Verdict::default().answered(Verdict::default(), false);
    let refused = verdict.refused();
    assert_eq!(refused.confirmed, Confirmed::No);
    assert_eq!(
        refused.answered(verdict, true).confirmed,
        Confirmed::Doubted
    );
    assert_eq!(verdict.answered(verdict, true).confirmed, Confirmed::Yes);
}

#[test]
fn silence_says_nothing_of_what_was_never_confirmed() {
    let unknown = Verdict::default();
    assert_eq!(unknown.unanswered(unknown), unknown);
}
