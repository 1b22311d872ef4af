//! The hosts of a URL, tried one after the other.
//!
//! The driver could try them by itself, but its limit of time is for the socket alone: a host that accepts and is silent
//! would keep it from the next one.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts};

use super::error::Failure;
use crate::engine::deadline::Deadline;

/// How long one address is tried, at most.
const CONNECTING: Duration = Duration::from_secs(10);

/// How long it is tried, at least.
const MOMENT: Duration = Duration::from_millis(100);

/// The hosts, in their order.
pub(super) struct Hosts {
    hosts: Vec<Place>,
    /// The limit for each address that the URL asks for.
    limit: Option<Duration>,
    random: bool,
}

struct Place {
    host: Option<Host>,
    address: Option<IpAddr>,
    port: u16,
}

impl Hosts {
    /// Those of a config; the error says what is wrong with them.
    pub fn of(config: &Config) -> Result<Self, String> {
        let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
        let count = hosts.len().max(addresses.len());
        if count == 0 {
            return Err(
                "names no host: write postgres://HOST/DATABASE, or host=/DIRECTORY for a socket".into()
            );
        }
        if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
            return Err(format!("names {} hosts and {} hostaddr", hosts.len(), addresses.len()));
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(format!(
                "names {count} hosts and {} ports: write each port after its host",
                ports.len()
            ));
        }
        let place = |at: usize| Place {
            host: hosts.get(at).cloned(),
            address: addresses.get(at).copied(),
            port: ports.get(at).or(ports.first()).copied().unwrap_or(5432),
        };
        Ok(Self {
            hosts: (0..count).map(place).collect(),
            limit: config.get_connect_timeout().copied(),
            random: config.get_load_balance_hosts() == LoadBalanceHosts::Random,
        })
    }

    /// Calls `connect` with the config of one address after the other until it succeeds. Each has its share of the time that
    /// is left, so that none keeps the others from being tried.
    pub async fn connect<T>(
        &self,
        config: &Config,
        until: Deadline,
        mut connect: impl AsyncFnMut(&Config) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut order: Vec<_> = self.hosts.iter().collect();
        if self.random {
            order.sort_by_cached_key(|_| RandomState::new().hash_one(0_u8));
        }
        let (bare, mut reason) = (without_hosts(config), Failure::Silent);
        for (at, place) in order.iter().enumerate() {
            let until = Deadline::after(share(until, order.len() - at)).min(until);
            let addresses = place.addresses(until).await;
            for (at, address) in addresses.iter().enumerate() {
                let limit = self.limit.unwrap_or_else(|| share(until, addresses.len() - at).min(CONNECTING));
                let mut config = bare.clone();
                match &place.host {
                    Some(Host::Tcp(name)) => config.host(name),
                    Some(Host::Unix(path)) => config.host_path(path),
                    None => &mut config,
                };
                if let Some(address) = address {
                    config.hostaddr(*address);
                }
                config.port(place.port).connect_timeout(limit);
                match timeout(limit, connect(&config)).await.unwrap_or(Err(Failure::Silent)) {
                    Ok(connected) => return Ok(connected),
                    // An error that a host has told says more than that another one is silent.
                    Err(Failure::Silent) if !matches!(reason, Failure::Silent) => {}
                    Err(failure) => reason = failure,
                }
            }
        }
        Err(reason)
    }
}

impl Place {
    /// The addresses of its name. `None` leaves the place to the driver: a socket, or a name that can't be looked up, which
    /// the driver reports.
    async fn addresses(&self, until: Deadline) -> Vec<Option<IpAddr>> {
        let (None, Some(Host::Tcp(name))) = (self.address, &self.host) else { return vec![self.address] };
        let found = timeout(share(until, 2), lookup_host((name.as_str(), self.port))).await;
        match found {
            Ok(Ok(found)) => found.map(|address| Some(address.ip())).collect(),
            _ => vec![None],
        }
    }
}

/// The time for the next one, if the time that is left is divided among so many.
fn share(until: Deadline, among: usize) -> Duration {
    (until.remaining() / u32::try_from(among).unwrap_or(u32::MAX)).max(MOMENT)
}

/// Everything else that a config says.
fn without_hosts(config: &Config) -> Config {
    let mut bare = Config::new();
    bare.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .target_session_attrs(config.get_target_session_attrs())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle());
    if let Some(user) = config.get_user() {
        bare.user(user);
    }
    if let Some(password) = config.get_password() {
        bare.password(password);
    }
    if let Some(name) = config.get_dbname() {
        bare.dbname(name);
    }
    if let Some(options) = config.get_options() {
        bare.options(options);
    }
    if let Some(name) = config.get_application_name() {
        bare.application_name(name);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        bare.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        bare.keepalives_retries(retries);
    }
    if let Some(limit) = config.get_tcp_user_timeout() {
        bare.tcp_user_timeout(*limit);
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A setting of the driver that this crate does not know would be dropped without a word.
    #[test]
    fn all_but_the_hosts_is_kept() {
        let url = "postgres://u:p@/d?application_name=a&options=-c%20x%3Dy&sslmode=require&sslnegotiation=direct\
                   &channel_binding=require&target_session_attrs=read-write&keepalives=0&keepalives_idle=7\
                   &keepalives_interval=8&keepalives_retries=9&tcp_user_timeout=10";
        let config: Config = url.parse().unwrap();
        assert_eq!(without_hosts(&config), config);
        assert_ne!(without_hosts(&config), Config::new());
    }

    /// The first accepts and is silent, the second does not answer at all, and the third has two addresses.
    #[test]
    fn each_address_has_its_share_of_the_time() {
        let config: Config =
            "postgres://a,b,c:6000/d?hostaddr=127.0.0.1,127.0.0.2,127.0.0.3".parse().unwrap();
        let hosts = Hosts::of(&config).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut tried = Vec::new();
        let until = Deadline::after(Duration::from_millis(600));
        let connected = runtime.block_on(hosts.connect(&config, until, async |config| {
            tried.push((config.get_hostaddrs().to_vec(), config.get_ports().to_vec()));
            match tried.len() {
                3 => Ok(config.get_hosts().to_vec()),
                _ => std::future::pending().await,
            }
        }));
        assert_eq!(connected.unwrap(), [Host::Tcp("c".to_owned())]);
        let last = ([127, 0, 0, 3].into(), 6000);
        assert_eq!(tried.last().unwrap(), &(vec![last.0], vec![last.1]));
        assert_eq!(tried.len(), 3);
    }

    #[test]
    fn hosts_that_do_not_fit_are_refused() {
        for (url, told) in [
            ("postgres:///d", "no host"),
            ("postgres://h/d?port=6432", "1 hosts and 2 ports"),
            ("postgres://a,b/d?hostaddr=127.0.0.1", "2 hosts and 1 hostaddr"),
        ] {
            let refused = Hosts::of(&url.parse().unwrap()).map(drop).unwrap_err();
            assert!(refused.contains(told), "{refused}");
        }
        let socket: Config = "postgres:///d?host=/run/postgresql&port=5433".parse().unwrap();
        assert_eq!(Hosts::of(&socket).unwrap().hosts[0].port, 5433);
    }
}
