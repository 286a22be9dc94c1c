"""What a release is made of beside the source package and the wheel: man pages and a Debian package."""
