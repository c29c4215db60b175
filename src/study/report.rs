//! The report: one HTML file that needs no other, made of the results and of nothing else.

use std::time::Duration;

use super::{
    commands,
    engine::Engine,
    figures::{self, Captioned},
    format,
    grid::Part,
    html::{Td, Th, escaped, p, table},
    measure::Measure,
    results::{CellResult, Faults, Line, Results},
    run::{RETRIES, STOLEN_MAX},
    statistics::Verdict,
};
use crate::load::Limit;

const STYLE: &str = include_str!("report.css");

/// The whole page.
pub(crate) fn render(results: &Results) -> String {
    let mut body = head(results);
    body += &overview(results);
    for part in Part::ALL {
        body += &section(results, part);
    }
    body += &all_runs(results);
    body += &machine(results);
    body += &method(results);
    body += &commands(results);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>slabcast: lock or actor?</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n{body}</body>\n</html>\n"
    )
}

fn head(results: &Results) -> String {
    let machine = &results.machine;
    let mut text = format!(
        "<h1>slabcast: lock or actor?</h1>\n<p class=\"dim\">{} · {} · {} cores, {} · {} rounds \
         of each cell, {}</p>\n",
        escaped(&format::moment(results.started_unix_seconds)),
        escaped(&machine.program),
        escaped(&machine.cores),
        escaped(&machine.processor),
        results.repetitions,
        escaped(&format::duration(
            Duration::try_from_secs_f64(results.seconds).unwrap_or_default()
        )),
    );
    text += &p(
        "The same server with two engines: the lock engine, where whoever publishes walks the \
         room’s members under a shared lock, and the hub, where an actor does it for everybody. \
         All figures are of real sockets on this one machine, which runs the load generator too: \
         read the ratios, not the rates.",
    );
    if !machine.is_optimised() {
        text += "<p class=\"bad\">This program was built without optimisation. Build it with \
                 cargo build --release before you believe a figure.</p>\n";
    }
    if let Some(load) = machine.load_average.filter(|_| machine.is_busy()) {
        text += &format!(
            "<p class=\"bad\">The machine was busy with other things when the study began: {load} \
             threads wanted to run, on {} cores. Run it again when it is idle.</p>\n",
            escaped(&machine.cores)
        );
    }
    text += &soundness(results);
    text
}

/// Whether every message came exactly once; nothing else counts if not.
fn soundness(results: &Results) -> String {
    let (delivered, expected) = results.delivered_of_expected();
    let faults = results.faults();
    let class = if faults.any() { "bad" } else { "good" };
    let mut text = format!(
        "<p class=\"{class}\">{} of {} deliveries came; {}.</p>\n",
        format::grouped(delivered),
        format::grouped(expected),
        fault_words(faults),
    );
    let faulty = results.cells.iter().filter(|cell| cell.faults().any());
    for cell in faulty {
        let words = fault_words(cell.faults());
        let id = escaped(&cell.cell.id);
        let end = cell.first_disconnect();
        let end = end.map(|end| format!("; the first of those sockets: {}", escaped(end)));
        let end = end.unwrap_or_default();
        text += &format!("<p class=\"bad\">{id}: {words}{end}</p>\n");
    }
    for cell in &results.cells {
        if let Some(problem) = &cell.problem {
            let rounds = cell.rounds.len();
            text += &format!(
                "<p class=\"bad\">{}: {rounds} of {} rounds, because {}</p>\n",
                escaped(&cell.cell.id),
                results.repetitions,
                escaped(problem)
            );
        }
    }
    text
}

fn fault_words(faults: Faults) -> String {
    format!(
        "{} lost, {} duplicated, {} out of their sender’s order, {} in the wrong room, {} sockets closed early, {} runs \
         with different orders in one room",
        format::grouped(faults.lost),
        format::grouped(faults.duplicated),
        format::grouped(faults.reordered),
        format::grouped(faults.strayed),
        format::grouped(faults.disconnected),
        faults.differently_ordered,
    )
}

fn overview(results: &Results) -> String {
    let measures = figures::OVERVIEW;
    let figures: Vec<Captioned> = measures
        .into_iter()
        .filter_map(|measure| figures::overview(results, measure))
        .collect();
    let tallies: String = measures
        .into_iter()
        .filter_map(|m| tally(results, m))
        .collect();
    format!(
        "<h2>At a glance</h2>\n{tallies}<ul>\n{}</ul>\n{}{}",
        headlines(results),
        grid_of(&figures),
        note(
            "A bar is the range of the rounds’ ratios, its mark their median. A disc: the lock is \
             ahead in all rounds. A triangle: the hub is. A filled diamond: within noise. A hollow \
             one: the load generator was at its limit, and the figure is its own.",
        ),
    )
}

/// One line for each question: of the last cell that asks it, which is its largest or fullest.
fn headlines(results: &Results) -> String {
    const MEASURES: [Measure; 5] = [
        Measure::Throughput,
        Measure::ServerCpu,
        Measure::LatencyP99,
        Measure::JoinP99,
        Measure::ClientMemory,
    ];
    let asked = MEASURES.into_iter().filter_map(|measure| {
        let lines = results.summary().filter(|line| line.measure == measure);
        lines.filter(|line| line.cell.part != Part::Shapes).last()
    });
    asked.map(|line| sentence(&line)).collect()
}

/// How many cells went which way.
fn tally(results: &Results, measure: Measure) -> Option<String> {
    let lines: Vec<Line<'_>> = results.summary().filter(|l| l.measure == measure).collect();
    if lines.is_empty() {
        return None;
    }
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let known = [
        Verdict::LockAhead,
        Verdict::HubAhead,
        Verdict::WithinNoise,
        Verdict::LoadLimit,
        Verdict::OneRound,
    ];
    let counts: Vec<String> = known
        .into_iter()
        .filter(|verdict| count(*verdict) > 0)
        .map(|verdict| format!("{} in {}", verdict.words(), count(verdict)))
        .collect();
    let text = format!(
        "{}, {} cells: {}.",
        capitalised(measure.name()),
        lines.len(),
        counts.join(", ")
    );
    Some(p(&text))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

fn section(results: &Results, part: Part) -> String {
    let lines: Vec<Line<'_>> = results
        .summary()
        .filter(|line| line.cell.part == part)
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let (title, words) = introduction(part);
    let figures = figures::of(results, part);
    let mut text = format!("<h2>{title}</h2>\n{}{}", p(words), grid_of(&figures));
    if !figures.is_empty() {
        text += &note(
            "A mark is the median of the rounds, its bar their range. Hollow: the load generator \
             was at its limit, so that the figure is its own.",
        );
    }
    text + &ratios(&lines)
}

fn introduction(part: Part) -> (&'static str, &'static str) {
    match part {
        Part::Throughput => (
            "Throughput against members, and CPU per delivery",
            "One room. Each sender has 16 messages of 64 bytes on their way and sends the next \
             one when one has come back to it. A delivery is one message at one member.",
        ),
        Part::Shapes => (
            "Other shapes",
            "One message at a time; larger messages; a room in which everybody speaks; many small \
             rooms at once.",
        ),
        Part::Latency => (
            "Latency against load",
            "Messages are sent at a fixed rate, whatever the server does, and latency counts from \
             the moment at which a message should have been sent. Full load is what the slower \
             engine reached when it was given as much as it took.",
        ),
        Part::Join => (
            "Join latency under fan-out",
            "Beside members and senders, 100 visitors a second connect, join the room, hear one \
             message and leave. Join latency is from a join’s request to its answer, or to the \
             first message where a join has no answer.",
        ),
        Part::Memory => (
            "Memory per client",
            "What the server’s resident memory grew by while the members connected, by how many \
             they are. The kernel’s socket buffers are not in it.",
        ),
    }
}

/// What one line of the results says, in words.
fn sentence(line: &Line<'_>) -> String {
    let Line {
        measure,
        hub_by_lock,
        ..
    } = *line;
    format!(
        "<li>{}, {}: lock {}, hub {}; hub / lock {} ({} to {}): <b>{}</b>.</li>\n",
        escaped(&capitalised(measure.name())),
        escaped(&line.cell.words()),
        measure.format(line.lock.median),
        measure.format(line.hub.median),
        format::ratio(hub_by_lock.median),
        format::ratio(hub_by_lock.low),
        format::ratio(hub_by_lock.high),
        line.verdict.words(),
    )
}

fn ratios(lines: &[Line<'_>]) -> String {
    let rows = lines.iter().map(|line| {
        let of = |value| Td::Number(line.measure.format(value));
        let ratio = line.hub_by_lock;
        let range = format!(
            "{} to {}",
            format::ratio(ratio.low),
            format::ratio(ratio.high)
        );
        vec![
            Td::Words(line.cell.words()),
            Td::Words(line.measure.name().to_owned()),
            of(line.lock.median),
            of(line.hub.median),
            Td::Number(format::ratio(ratio.median)),
            Td::Number(range),
            Td::Words(line.verdict.words().to_owned()),
        ]
    });
    let head = [
        Th::Words("cell"),
        Th::Words("figure"),
        Th::Number("lock"),
        Th::Number("hub"),
        Th::Number("hub / lock"),
        Th::Number("range"),
        Th::Words("says"),
    ];
    table(&head, rows)
}

fn grid_of(figures: &[Captioned]) -> String {
    let figures: String = figures
        .iter()
        .map(|figure| {
            let (title, better) = (escaped(&figure.title), figure.better);
            format!(
                "<figure><figcaption>{title} <span>({better})</span></figcaption>\n{}</figure>\n",
                figure.svg
            )
        })
        .collect();
    if figures.is_empty() {
        return figures;
    }
    format!("<div class=\"figures\">\n{figures}</div>\n")
}

fn note(text: &str) -> String {
    format!("<p class=\"dim\">{}</p>\n", escaped(text))
}

/// What every cell found, beside what is compared.
fn all_runs(results: &Results) -> String {
    let rows = results.cells.iter().flat_map(|result| {
        let engines = Engine::ALL.into_iter();
        engines.filter_map(move |engine| run_row(result, engine))
    });
    let head = [
        Th::Words("cell"),
        Th::Words("engine"),
        Th::Words("limit"),
        Th::Number("deliveries/s"),
        Th::Number("p50"),
        Th::Number("p99"),
        Th::Number("p99.9"),
        Th::Number("server CPU"),
        Th::Number("load CPU"),
        Th::Number("sent again"),
        Th::Number("stolen"),
    ];
    format!(
        "<h2>All cells</h2>\n{}{}",
        p(
            "Medians of the rounds. Limit is what kept most of them from being faster: the load \
           generator, the server, or the drive, that is the rate or the window. CPU is per \
           delivery. Sent again are TCP segments of the whole machine in all rounds, stolen is \
           the most that the host took of the CPU in a round."
        ),
        table(&head, rows)
    )
}

fn run_row(result: &CellResult, engine: Engine) -> Option<Vec<Td>> {
    let limit = result.limit(engine)?;
    let of = |measure: Measure| {
        let spread = result.spread(engine, measure);
        let text = spread.map(|spread| measure.format(spread.median));
        Td::Number(text.unwrap_or_else(|| "–".to_owned()))
    };
    let runs = result.rounds.iter().flat_map(|round| &round.runs);
    let sent_again: Option<u64> = runs
        .filter(|run| run.engine == engine)
        .map(|run| run.outcome.retransmitted_segments)
        .sum();
    let stolen = result.rounds.iter().filter_map(|round| round.stolen);
    let stolen = stolen.reduce(f64::max);
    Some(vec![
        Td::Words(result.cell.id.clone()),
        Td::Words(engine.name().to_owned()),
        Td::Words(limit_words(limit).to_owned()),
        of(Measure::Throughput),
        of(Measure::LatencyP50),
        of(Measure::LatencyP99),
        of(Measure::LatencyP999),
        of(Measure::ServerCpu),
        of(Measure::LoadCpu),
        Td::Number(sent_again.map_or_else(|| "unknown".to_owned(), format::grouped)),
        Td::Number(stolen.map_or_else(|| "unknown".to_owned(), format::percent)),
    ])
}

fn limit_words(limit: Limit) -> &'static str {
    match limit {
        Limit::Load => "load",
        Limit::Server => "server",
        Limit::Drive => "drive",
        Limit::Unknown => "unknown",
    }
}

fn machine(results: &Results) -> String {
    let facts = results.machine.facts();
    let rows =
        facts.map(|(name, value)| vec![Td::Words(name.to_owned()), Td::Words(value.to_owned())]);
    format!(
        "<h2>The machine</h2>\n{}",
        table(&[Th::Words("fact"), Th::Words("value")], rows)
    )
}

fn method(results: &Results) -> String {
    let discarded: usize = results.cells.iter().map(|cell| cell.discarded).sum();
    // Of two equal engines, all rounds after the first agree with it by chance.
    let by_chance = 0.5_f64.powi(i32::try_from(results.repetitions).unwrap_or(i32::MAX) - 1);
    let chance = format::percent(by_chance);
    let stolen = format::percent(STOLEN_MAX);
    [
        "<h2>How it was measured</h2>\n".to_owned(),
        p("For every cell the engines take turns: lock, hub, lock, hub, and so on. Each run has a \
           server process of its own, started before and ended after it, with the default \
           configuration. A ratio is of two runs of the same round, one right after the other, so \
           that what the machine did at that time is in both. What is shown is the median of these \
             ratios, which need not be the ratio of the medians."),
        p(&format!(
            "An engine is called ahead if it is ahead in every round; if the rounds disagree, or \
             one finds them equal, it is noise. Two equal engines would look decided like that in \
             {chance} of the cells by chance. Where the load generator was at its limit, neither \
             is called ahead. With one message on its way at a time, differences under about 30 % \
             are hard to tell apart on virtual machines, whatever the rounds say."
        )),
        p(&format!(
            "A round in which the host gave more than {stolen} of the CPU to others was run \
             again, at most {RETRIES} times a cell; that happened {discarded} times."
        )),
    ]
    .concat()
}

fn commands(results: &Results) -> String {
    let servers = Engine::ALL.map(commands::serve).join("\n");
    let loads: Vec<String> = results.cells.iter().filter_map(load_command).collect();
    format!(
        "<h2>The commands</h2>\n{}<pre>{}</pre>\n{}<pre>{}</pre>\n{}<pre>{}</pre>\n{}",
        p("The whole study again:"),
        escaped(&results.command),
        p("One cell again, with either server in one terminal"),
        escaped(&servers),
        p("and the load in another:"),
        escaped(&loads.join("\n")),
        p(
            "The raw data are in results.json beside this file; slabcast study --report-from \
           results.json draws this page from them again.",
        ),
    )
}

fn load_command(result: &CellResult) -> Option<String> {
    let run = result.rounds.first()?.runs.first()?;
    let command = commands::bench(&run.outcome.plan);
    Some(format!("# {}\n{command}", result.cell.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an invented machine whose name is not to become markup.
    const SAMPLE: &str = include_str!("sample.json");

    fn sample() -> Results {
        Results::from_json(SAMPLE).unwrap()
    }

    /// Fails unless every tag that is opened is closed, in order.
    #[track_caller]
    fn assert_well_formed(page: &str) {
        const VOID: [&str; 1] = ["!doctype"];
        let mut open = Vec::new();
        // What stands in the style sheet is not markup.
        let (before, rest) = page.split_once("<style>").unwrap();
        let (_, after) = rest.split_once("</style>").unwrap();
        let page = format!("{before}{after}");
        for tag in page.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').expect("a tag ends");
            assert!(!text.contains('>'), "an unescaped > in {text}");
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag}");
            let name = tag.split([' ', '\n', '/']).next().unwrap();
            if let Some(closed) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(closed), "closed out of order");
            } else if !tag.ends_with('/') && !VOID.contains(&name) {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "still open: {open:?}");
    }

    #[test]
    fn a_report_is_made_of_its_results_alone() {
        assert_eq!(render(&sample()), render(&sample()));
        let again = Results::from_json(&sample().to_json().unwrap()).unwrap();
        assert_eq!(again, sample());
        assert_eq!(render(&again), render(&sample()));
    }

    #[test]
    fn a_report_is_well_formed_and_loads_nothing() {
        let page = render(&sample());
        assert_well_formed(&page);
        for loaded in ["<script", "<link", "<img", "@import", "url("] {
            assert!(!page.contains(loaded), "{loaded}");
        }
        let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http"), "an address");
    }

    #[test]
    fn a_report_has_every_section_and_every_figure() {
        let page = render(&sample());
        for title in [
            "At a glance",
            "Throughput against members",
            "Other shapes",
            "Latency against load",
            "Join latency under fan-out",
            "Memory per client",
            "All cells",
            "The machine",
            "How it was measured",
            "The commands",
        ] {
            assert!(page.contains(title), "{title}");
        }
        assert_eq!(page.matches("<svg ").count(), 11);
        for (name, value) in sample().machine.facts() {
            assert!(
                page.contains(name) && page.contains(&escaped(value)),
                "{name}"
            );
        }
    }

    #[test]
    fn what_a_machine_is_called_does_not_become_markup() {
        let page = render(&sample());
        assert!(page.contains("A Processor &lt;2.5 GHz&gt; &amp; &quot;more&quot;"));
        assert!(!page.contains("<2.5"));
    }

    #[test]
    fn a_lost_message_is_said_first_and_fails_the_study() {
        let mut results = sample();
        assert!(results.is_sound());
        assert!(!render(&results).contains("class=\"bad\""));
        results.cells[1].rounds[0].runs[1].outcome.lost = 7;
        assert!(!results.is_sound());
        let page = render(&results);
        let (before, _) = page.split_once("At a glance").unwrap();
        let id = &results.cells[1].cell.id;
        assert!(before.contains(&format!("<p class=\"bad\">{id}: 7 lost")));
    }

    #[test]
    fn a_cell_that_was_not_run_is_said_first() {
        let mut results = sample();
        results.cells[0].rounds.clear();
        results.cells[0].problem = Some("there is <no> room".to_owned());
        assert!(!results.is_sound());
        let page = render(&results);
        let (before, _) = page.split_once("At a glance").unwrap();
        assert!(before.contains("0 of 2 rounds, because there is &lt;no&gt; room"));
        assert_well_formed(&page);
    }

    #[test]
    fn nobody_is_ahead_where_the_load_generator_was_at_its_limit() {
        let mut results = sample();
        let cell = results.cell("f1000-s16-64B").unwrap();
        assert_ne!(cell.verdict(Measure::Throughput), Some(Verdict::LoadLimit));
        for cell in &mut results.cells {
            for round in &mut cell.rounds {
                round.runs[0].outcome.limit = Limit::Load;
            }
        }
        let cell = results.cell("f1000-s16-64B").unwrap();
        assert_eq!(cell.verdict(Measure::Throughput), Some(Verdict::LoadLimit));
        assert_ne!(cell.verdict(Measure::ServerCpu), Some(Verdict::LoadLimit));
    }

    #[test]
    fn a_debug_build_says_that_its_figures_say_little() {
        let mut results = sample();
        results.machine = super::super::machine::Machine::read();
        let is_said = render(&results).contains("built without optimisation");
        assert_eq!(is_said, cfg!(debug_assertions));
    }

    #[test]
    fn a_busy_machine_is_said_first() {
        let mut results = sample();
        results.machine.load_average = Some(9.5);
        let page = render(&results);
        let (before, _) = page.split_once("At a glance").unwrap();
        assert!(before.contains("9.5 threads wanted to run, on 2 cores"));
    }

    #[test]
    fn a_file_of_another_format_is_not_read() {
        let text = SAMPLE.replacen("\"format\": 1", "\"format\": 2", 1);
        let problem = Results::from_json(&text).unwrap_err();
        assert_eq!(problem, "is of format 2, and this program reads format 1");
        assert!(Results::from_json("{}").unwrap_err().contains("no study"));
    }
}
