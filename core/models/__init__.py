"""Models with their configurations and stored weights: autoencoder, classifier, text encoder, image model."""
