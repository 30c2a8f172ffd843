//! What the page loads: the library with its feature `page`.

extern crate sd_web_client as _;
