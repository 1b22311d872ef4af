//! Real HTTP over loopback, against the service as a process of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::{HeaderValue, Response};
use ureq::{Agent, Body};

const REQUEST: &str = include_str!("../../../tests/wire/request.documented.json");
const REQUEST_WITHOUT_MEMORY: &str = include_str!("../../../tests/wire/request_without_memory.json");
const RESPONSE_200: &str = include_str!("../../../tests/wire/response_200.json");
const RESPONSE_400: &str = include_str!("../../../tests/wire/response_400.json");

struct Service {
    process: Child,
    address: String,
    agent: Agent,
}

impl Service {
    fn start(directory: &Path) -> Self {
        Self::run(&mut Self::command(directory))
    }

    fn command(directory: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_profile-service"));
        command
            .env("STORE", format!("sqlite:{}", directory.join("p.db").display()))
            .env("LISTEN", "127.0.0.1:0");
        command.env("RUST_LOG", "warn");
        command.env_remove("BODY_BYTES").env_remove("BODIES").env_remove("BODY_SECONDS");
        command
    }

    fn run(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("the service has started").to_owned();
        let agent =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
        Self { process, address, agent: agent.build().into() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> Response<Body> {
        self.agent.get(self.url(path)).call().unwrap()
    }

    fn post(&self, path: &str, body: &str) -> Response<Body> {
        self.agent.post(self.url(path)).send(body).unwrap()
    }

    fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the service does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: it is a call of the system about a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.process.id().cast_signed(), signal) }, 0);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(mut response: Response<Body>) -> (u16, String) {
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

/// A page holds what was posted, whatever its size is.
fn ids(page: &str) -> Vec<String> {
    let page: serde_json::Value = serde_json::from_str(page).unwrap();
    let profiles = page["profiles"].as_array().unwrap();
    profiles.iter().map(|profile| profile["external_user_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn both_documented_answers_are_given_to_the_byte() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let upsert = |body| text(service.post("/my-guru/profiles/", body));
    assert_eq!(upsert(REQUEST_WITHOUT_MEMORY), (400, RESPONSE_400.to_owned()));
    assert_eq!(upsert(REQUEST), (200, RESPONSE_200.to_owned()));
    assert_eq!(upsert(REQUEST), (200, RESPONSE_200.to_owned()));
    let (status, error) = upsert(r#"{"users":{}}"#);
    assert_eq!((status, error.contains("`users`")), (400, true), "{error}");
    assert_eq!(text(service.post("/no%20slug/profiles/", REQUEST)).0, 400);
}

#[test]
fn a_large_documented_request_is_taken_and_a_larger_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let user = |at: usize| {
        format!(r#"{{"external_user_id":"u{at:05}","memory":{{"notes":"{}"}}}}"#, "x".repeat(3000))
    };
    let body = format!(r#"{{"users":[{}]}}"#, (0..10_000).map(user).collect::<Vec<_>>().join(","));
    assert!(body.len() > 30_000_000);
    assert_eq!(text(service.post("/g/profiles/", &body)).0, 200);
    assert_eq!(text(service.post("/g/profiles/", &format!("{body}{}", " ".repeat(40_000_000)))).0, 413);
    assert_eq!(text(service.get("/g/profiles/u09999")).0, 200);
}

/// Many clients read the answer only when they have sent all, even if it is there before.
#[test]
fn a_client_that_sends_all_before_it_reads_gets_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::run(Service::command(directory.path()).env("BODY_BYTES", "4000000"));
    let piece = vec![b' '; 1_000_000];
    for (request, answered_after, told) in [
        ("POST /g/profiles/", 5, "413 "),
        ("PUT /g/profiles/ada", 3, "413 "),
        ("PATCH /g/profiles/", 0, "405 "),
        ("POST /no/such/path/here", 0, "404 "),
    ] {
        let mut client = TcpStream::connect(&service.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (pieces, close) = (30, "connection: close");
        let length = pieces * piece.len();
        write!(client, "{request} HTTP/1.1\r\nhost: here\r\n{close}\r\ncontent-length: {length}\r\n\r\n")
            .unwrap();
        for _ in 0..answered_after {
            client.write_all(&piece).unwrap();
        }
        assert!(client.peek(&mut [0]).unwrap() > 0, "{request} is answered before all is sent");
        for _ in answered_after..pieces {
            client.write_all(&piece).unwrap_or_else(|error| panic!("{request}: {error}"));
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {told}")), "{request}: {answer}");
    }
    // Nobody asks this client to send what nobody reads.
    let mut client = TcpStream::connect(&service.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let head =
        "PATCH /g/profiles/ HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the connection ends without its body");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[test]
fn etags_are_those_of_http() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let url = service.url("/g/profiles/ada");
    let put = |name: &str, value: &str, body: &str| {
        service.agent.put(&url).header(name, value).send(body).unwrap().status().as_u16()
    };
    assert_eq!(put("If-None-Match", "*", r#"{"plan":"free"}"#), 200);
    assert_eq!(put("If-None-Match", "*", r#"{"plan":"free"}"#), 412);
    let read = service.get("/g/profiles/ada");
    let etag = header(&read, "etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    let (_, profile) = text(read);
    assert!(profile.contains(r#""memory":{"plan":"free"}"#), "{profile}");
    let again = service.agent.get(&url).header("If-None-Match", &etag).call().unwrap();
    assert_eq!(again.status(), 304);
    let changed = service.agent.put(&url).header("If-Match", &etag).send(r#"{"plan":"pro"}"#).unwrap();
    assert_eq!(changed.status(), 200);
    assert_eq!(header(&changed, "etag"), header(&service.get("/g/profiles/ada"), "etag"));
    assert_eq!(put("If-Match", &etag, r#"{"plan":"team"}"#), 412);
    assert_eq!(put("If-Match", "no etag", "{}"), 400);
    assert_eq!(put("Accept", "*/*", "[]"), 400);
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(3 << 20));
    assert_eq!(put("Accept", "*/*", &large), 413);
    let delete = |name: &str, value: &str| {
        service.agent.delete(&url).header(name, value).call().unwrap().status().as_u16()
    };
    assert_eq!(delete("If-Match", &etag), 412);
    // None of these may pass for a write without a condition.
    let foreign = HeaderValue::from_bytes(b"\"\xe9\"").unwrap();
    let refused = service.agent.put(&url).header("If-Match", &foreign).send("{}").unwrap();
    assert_eq!(refused.status(), 400);
    assert_eq!(service.agent.delete(&url).header("If-Match", &foreign).call().unwrap().status(), 400);
    assert_eq!(delete("If-None-Match", "*"), 400);
    assert_eq!(delete("Accept", "*/*"), 204);
    assert_eq!(delete("Accept", "*/*"), 404);
    assert_eq!(text(service.get("/g/profiles/ada")).0, 404);
}

#[test]
fn pages_are_followed_by_their_cursor() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let user = |id: &str| format!(r#"{{"external_user_id":"{id}","memory":{{}}}}"#);
    let users: Vec<_> = ["a:1", "a:2", "a:3", "b:1", "b:2"].map(user).into();
    assert_eq!(text(service.post("/g/profiles/", &format!(r#"{{"users":[{}]}}"#, users.join(",")))).0, 200);
    let (_, first) = text(service.get("/g/profiles/?limit=2"));
    assert_eq!(ids(&first), ["a:1", "a:2"]);
    let (_, second) = text(service.get("/g/profiles/?limit=2&after=a:2"));
    assert_eq!(ids(&second), ["a:3", "b:1"]);
    let (_, of_b) = text(service.get("/g/profiles/?prefix=b:"));
    assert_eq!(ids(&of_b), ["b:1", "b:2"]);
    let (_, other) = text(service.get("/other/profiles/"));
    assert!(ids(&other).is_empty());
}

/// A1: any text is an id. It is encoded in the path, and decoded once.
#[test]
fn ids_in_paths_are_percent_encoded() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    for (path, id) in [("a%2Fb", "a/b"), ("50%25", "50%"), ("%2F", "/"), ("%C3%A9%20", "é ")] {
        let put = service.agent.put(service.url(&format!("/g/profiles/{path}"))).send("{}").unwrap();
        assert_eq!(put.status(), 200, "{id}");
        let (status, profile) = text(service.get(&format!("/g/profiles/{path}")));
        assert!(status == 200 && profile.contains(&format!(r#""external_user_id":"{id}""#)), "{profile}");
    }
    assert_eq!(ids(&text(service.get("/g/profiles/")).1), ["/", "50%", "a/b", "é "]);
    assert_eq!(ids(&text(service.get("/g/profiles/?after=50%25")).1), ["a/b", "é "]);
    assert_eq!(text(service.get("/g/profiles")).0, 404, "a trailing slash makes another route");
}

#[test]
fn refusals_of_the_framework_are_json() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let patch = service.agent.patch(service.url("/g/profiles/")).send("{}").unwrap();
    assert_eq!(header(&patch, "allow"), "POST,GET,HEAD");
    let huge = service.post("/g/profiles/", &" ".repeat(70_000_000));
    let query = service.get("/g/profiles/?limit=many");
    for (refusal, told) in [
        (patch, (405, "Method Not Allowed")),
        (huge, (413, "Payload Too Large")),
        (query, (400, "Bad Request")),
        (service.get("/no/such/path/here"), (404, "Not Found")),
    ] {
        assert_eq!(header(&refusal, "content-type"), "application/json");
        assert_eq!(text(refusal), (told.0, format!(r#"{{"error":"{}"}}"#, told.1)));
    }
}

#[test]
fn health_and_metrics_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    assert_eq!(text(service.post("/g/profiles/", REQUEST)).0, 200);
    assert_eq!(text(service.get("/health/live")).0, 200);
    assert_eq!(text(service.get("/health/ready")).0, 200);
    let (_, metrics) = text(service.get("/metrics"));
    assert!(metrics.contains("profile_store_users_total 2"), "{metrics}");
    assert!(metrics.contains("profile_store_refusing 0"), "{metrics}");
}

/// Both that of the calls, in their spans, and that of the events.
#[test]
fn the_log_has_what_the_store_tells() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut command = Service::command(directory.path());
    command.env("RUST_LOG", "profile_store=debug").stderr(File::create(&log).unwrap());
    let mut service = Service::run(&mut command);
    assert_eq!(text(service.post("/g/profiles/", REQUEST)).0, 200);
    service.signal(libc::SIGTERM);
    assert!(service.end().success());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("upsert_batch{") && log.contains("committed"), "{log}");
}

/// Neither may pass for the default, or make a service that never answers.
#[test]
fn settings_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (name, value, told) in [
        ("STORE", &b"sqlite:\xff.db"[..], "STORE is not Unicode"),
        ("BODIES", &b"0"[..], "BODIES: number would be zero"),
        // As many as there may be: it is the address that is refused.
        ("BODIES", &b"18446744073709551615"[..], "invalid socket address"),
    ] {
        let mut command = Service::command(directory.path());
        // It ends for want of an address if the other setting is taken.
        let ended = command.env("LISTEN", "nowhere").env(name, OsStr::from_bytes(value)).output().unwrap();
        let error = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success() && error.contains(told) && !error.contains("panicked"), "{error}");
    }
}

/// Clients that don't send the rest keep their places only until the time-out.
#[test]
fn unfinished_bodies_give_their_places_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Service::command(directory.path());
    let service = Service::run(command.env("BODIES", "2").env("BODY_SECONDS", "1"));
    let begun = Instant::now();
    let unfinished = [(); 2].map(|()| {
        let mut client = TcpStream::connect(&service.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head =
            "POST /g/profiles/ HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
        client.write_all(head.as_bytes()).unwrap();
        let mut client = BufReader::new(client);
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        // The service reads the body, so the client has its place.
        assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
        client
    });
    assert_eq!(text(service.post("/g/profiles/", REQUEST)).0, 200);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1), "it had to wait for a place: {took:?}");
    for mut client in unfinished {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("HTTP/1.1 408 "), "{answer}");
        assert!(answer.ends_with(r#"{"error":"Request Timeout"}"#), "{answer}");
    }
}

#[test]
fn a_stop_answers_what_has_begun_and_leaves_a_clean_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut service = Service::start(directory.path());
    assert_eq!(text(service.post("/g/profiles/", REQUEST)).0, 200);
    // Its client never sends the rest: it is not waited for longer than for others.
    let mut unfinished = TcpStream::connect(&service.address).unwrap();
    unfinished.write_all(b"POST /g/profiles/ HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\n\r\n{").unwrap();
    service.signal(libc::SIGTERM);
    let status = service.end();
    assert!(status.success(), "{status}");
    assert!(!directory.path().join("p.db-wal").exists(), "the log is moved into the file");
}

/// P4: the supervisor is to start it again.
#[test]
fn a_store_that_refuses_writes_ends_the_service_as_a_failure() {
    type Call = fn(&Service) -> Response<Body>;
    let upsert: Call =
        |service| service.post("/g/profiles/", r#"{"users":[{"external_user_id":"new","memory":{}}]}"#);
    let delete: Call = |service| service.agent.delete(service.url("/g/profiles/user1-id")).call().unwrap();
    for (call, told) in
        [(upsert, "Internal server error while saving profiles"), (delete, "Internal server error")]
    {
        let directory = tempfile::tempdir().unwrap();
        let mut service = Service::start(directory.path());
        assert_eq!(text(service.post("/g/profiles/", REQUEST)).0, 200);
        std::fs::remove_file(directory.path().join("p.db")).unwrap();
        assert_eq!(text(call(&service)), (503, format!(r#"{{"error":"{told}"}}"#)));
        assert_eq!(service.end().code(), Some(1));
    }
}

/// S2: whoever got a 200 is there after `kill -9`.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let acknowledged = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for client in 0..8 {
            let (service, acknowledged) = (&service, &acknowledged);
            scope.spawn(move || {
                for number in 0.. {
                    let id = format!("{client}-{number}");
                    let body =
                        format!(r#"{{"users":[{{"external_user_id":"{id}","memory":{{"n":{number}}}}}]}}"#);
                    match service.agent.post(service.url("/g/profiles/")).send(&body) {
                        Ok(answer) if answer.status() == 200 => {
                            acknowledged.lock().unwrap().push((id, number))
                        }
                        _ => return,
                    }
                }
            });
        }
        // Without an end, clients that are refused would be waited for for ever.
        let end = Instant::now() + Duration::from_secs(60);
        while acknowledged.lock().unwrap().len() < 300 && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        service.signal(libc::SIGKILL);
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    drop(service);
    let service = Service::start(directory.path());
    for (id, number) in &acknowledged {
        let (status, profile) = text(service.get(&format!("/g/profiles/{id}")));
        assert_eq!(status, 200, "{id} was acknowledged, and is lost");
        assert!(profile.contains(&format!(r#""memory":{{"n":{number}}}"#)), "{profile}");
    }
    assert!(acknowledged.len() >= 300);
}
