//! What the package of other people's pages loads: the library with its feature `package`.

extern crate sd_web_client as _;
