"""Block stacking, the second kind of task of Diffuser (Janner et al. 2022, section 5.2)."""
