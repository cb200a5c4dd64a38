mod duration;
mod go_json;
mod names;
