"""The subcommands of `dreamlift`; each module imports torch only when its command runs."""
