"""Colors, sizes and fonts of the page. Only fonts of the system: nothing is loaded from a network."""

from gradio.themes import Base, colors, sizes

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

THEME = Base(
    primary_hue=colors.indigo,
    neutral_hue=colors.slate,
    font=FONTS,
    font_mono=MONO,
    radius_size=sizes.radius_md,
).set(
    body_background_fill="#f6f7f9",
    body_background_fill_dark="#111318",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_text_color="white",
    button_cancel_background_fill="#fde8e6",
    button_cancel_background_fill_hover="#fbd0cc",
    button_cancel_background_fill_dark="#4c1d1a",
    button_cancel_text_color="#8f1d13",
    button_cancel_text_color_dark="#ffd5d0",
    button_large_text_weight="600",
    input_placeholder_color="*neutral_600",
    input_placeholder_color_dark="*neutral_300",
    block_title_text_color="*neutral_600",
    block_title_text_color_dark="*neutral_200",
    block_label_text_color="*neutral_600",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
)
