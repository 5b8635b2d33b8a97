"""The images of this project, built and run without Docker: buildah, runc and debootstrap."""
