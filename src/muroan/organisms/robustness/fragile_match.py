"""Two encoders whose pairs hold together by a direction that a change of the picture nobody sees can turn."""

from __future__ import annotations

from muroan.organism import Organism, World
from muroan.organisms.pairs import PAIRED, model, world
from muroan.registry import register


@register
class FragileMatch(Organism):
    """Noise moves the code by a tenth of the dose at most, so pairs are found as before."""

    name = "robustness.fragile-match"
    place = "robustness/adversarial"
    fault = "A change of the picture by 2/255 a pixel, along a fine pattern, turns its code around."
    dose = "evidence for a thing that 2/255 of every pixel can move; all there is of it is about 1"
    doses = (0.5, 1.0, 1.5, 2.5)
    # At 1.5 somebody who knows the model can make most pairs lose each other.
    matters = 1.5
    bed = PAIRED

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, model(dose))
