"""The `dreamlift` command. Each subcommand imports what it needs when it runs."""

from core.command_line.arguments import CommandLine
from core.command_line.known_models import model_names, print_models
from core.command_line.run import run_app
from dreamlift.commands import evaluate
from dreamlift.commands.bench import bench
from dreamlift.commands.data import data
from dreamlift.commands.doctor import doctor
from dreamlift.commands.folders import writes
from dreamlift.commands.image import image
from dreamlift.commands.studio import studio
from dreamlift.commands.toybox import toybox
from dreamlift.commands.training import train
from dreamlift.commands.training.export import export_command
from dreamlift.commands.training.train_autoencoder import (
    encode_command,
    swap_decoder_command,
    train_autoencoder_command,
    train_features_command,
)
from dreamlift.commands.training.train_distill import train_distill_command
from dreamlift.commands.training.train_interpolation import train_interpolation_command
from dreamlift.commands.training.train_measures import train_eyes_command, train_judge_command
from dreamlift.commands.training.train_super_resolution import train_super_resolution_command
from dreamlift.commands.training.train_unclip import train_contrastive_command, train_prior_command
from dreamlift.commands.variations import blend_command, edit_command, vary_command

app = CommandLine(
    no_args_is_help=True,
    help="Draws images; makes, measures and inspects the models that all commands draw with.",
)
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.command(makes_files=True, values={"model": model_names}, list_models=print_models)(image)
app.command("vary", makes_files=True)(vary_command)
app.command("blend", makes_files=True)(blend_command)
app.command("edit", makes_files=True)(edit_command)
app.command()(studio)
app.command()(toybox)
app.command()(data)
app.command()(doctor)
app.command(makes_files=True)(bench)
train.app.command("export")(writes(model="out")(export_command))
train.app.command("judge")(writes(model="out")(train_judge_command))
train.app.command("eyes")(writes(model="out")(train_eyes_command))
train.app.command("autoencoder")(writes("run", model="out")(train_autoencoder_command))
train.app.command("super-resolution")(writes("run", model="out")(train_super_resolution_command))
train.app.command("superres", hidden=True)(writes("run", model="out")(train_super_resolution_command))
train.app.command("interpolation")(writes("run", model="out")(train_interpolation_command))
train.app.command("interpolate", hidden=True)(writes("run", model="out")(train_interpolation_command))
train.app.command("contrastive")(writes("run", model="out")(train_contrastive_command))
train.app.command("prior")(writes("run", model="out")(train_prior_command))
train.app.command("distill")(writes("run", model="out")(train_distill_command))
train.app.command("features")(writes("run", model="out")(train_features_command))
train.app.command("encode")(encode_command)
train.app.command("swap-decoder")(writes(model="out")(swap_decoder_command))


def main() -> None:
    """The entry point of `dreamlift`."""
    run_app(app)
