//! Cluster IPs and node ports in use.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

/// First and last node port, the server's default range.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// What Services hold.
#[derive(Debug, Default)]
pub(crate) struct Allocations {
    ips: BTreeMap<String, Arc<str>>,
    /// (port, protocol) -> Service.
    ports: BTreeMap<(u16, String), Arc<str>>,
    held: HashMap<Arc<str>, Held>,
    next_ip: u32,
    next_port: u16,
}

#[derive(Debug, Default)]
struct Held {
    ips: Vec<String>,
    ports: Vec<(u16, String)>,
}

/// Node ports of a Service with their protocols.
pub(crate) fn node_ports(service: &Value) -> Vec<(u16, String)> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let mut found: Vec<(u16, String)> = ports
        .filter_map(|p| {
            let port = u16::try_from(p["nodePort"].as_u64()?)
                .ok()
                .filter(|p| *p > 0)?;
            Some((port, p["protocol"].as_str().unwrap_or("TCP").to_owned()))
        })
        .collect();
    if let Some(port) = service["spec"]["healthCheckNodePort"]
        .as_u64()
        .and_then(|p| u16::try_from(p).ok())
        && port > 0
    {
        found.push((port, "TCP".into()));
    }
    found
}

impl Allocations {
    /// Notes what a Service holds now.
    pub(crate) fn note(&mut self, key: &Arc<str>, service: &Value) {
        self.forget(key);
        let ips = service["spec"]["clusterIPs"]
            .as_array()
            .into_iter()
            .flatten();
        let ips: Vec<String> = ips
            .filter_map(Value::as_str)
            .filter(|ip| *ip != "None" && !ip.is_empty())
            .map(str::to_owned)
            .collect();
        let ports = node_ports(service);
        for ip in &ips {
            self.ips.insert(ip.clone(), key.clone());
        }
        for port in &ports {
            self.ports.insert(port.clone(), key.clone());
        }
        self.held.insert(key.clone(), Held { ips, ports });
    }

    /// Gives back what a Service holds.
    pub(crate) fn forget(&mut self, key: &str) {
        if let Some(held) = self.held.remove(key) {
            held.ips.iter().for_each(|ip| drop(self.ips.remove(ip)));
            held.ports
                .iter()
                .for_each(|port| drop(self.ports.remove(port)));
        }
    }

    /// Whether another Service holds the address.
    pub(crate) fn ip_taken(&self, ip: &str, by_other_than: &str) -> bool {
        self.ips
            .get(ip)
            .is_some_and(|holder| holder.as_ref() != by_other_than)
    }

    /// Whether another Service holds the port.
    pub(crate) fn port_taken(&self, port: u16, protocol: &str, by_other_than: &str) -> bool {
        self.ports
            .get(&(port, protocol.to_owned()))
            .is_some_and(|holder| holder.as_ref() != by_other_than)
    }

    pub(crate) fn in_range(port: u16) -> bool {
        NODE_PORTS.contains(&port)
    }

    /// A free address of 10.0.0.0/16; nothing when all are taken.
    pub(crate) fn free_ip(&mut self) -> Option<String> {
        for _ in 0..65_000_u32 {
            self.next_ip = self.next_ip % 65_000 + 1;
            let offset = self.next_ip + 9;
            let ip = format!("10.0.{}.{}", offset / 256, offset % 256);
            if !self.ips.contains_key(&ip) {
                return Some(ip);
            }
        }
        None
    }

    /// A free node port that is not among `also_taken`.
    pub(crate) fn free_port(&mut self, also_taken: &BTreeSet<u16>) -> Option<u16> {
        let first = *NODE_PORTS.start();
        let count = NODE_PORTS.end() - first + 1;
        for _ in 0..count {
            self.next_port = (self.next_port + 1) % count;
            let port = first + self.next_port;
            let used = self
                .ports
                .range((port, String::new())..(port + 1, String::new()))
                .next()
                .is_some();
            if !used && !also_taken.contains(&port) {
                return Some(port);
            }
        }
        None
    }
}
