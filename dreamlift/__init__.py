"""The face of the suite: the `dreamlift` command. The only package that imports core, video and dream3d."""
