"""Why a network decided as it did: gradients, and maps in the picture's own pixels."""
