mod crd;
mod document;
mod duration;
mod go_json;
mod kinds;
mod merge;
mod names;
mod shape;
