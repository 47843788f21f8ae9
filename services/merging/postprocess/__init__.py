"""What is mended in AI masks before they meet the masks of people: pure steps of one signature, all sizes in mm."""

from services.core.geometry import Geometry
from services.core.organs import Step
from services.merging.layers import Kind, Layers
from services.merging.policy import Policy
from services.merging.postprocess.steps import STEPS
from services.merging.precedence import Origin


def process(layers: Layers, policy: Policy, grid: Geometry) -> Layers:
    """The organs after the steps that the policy has for them. Layers of other origins than AI are given back as they
    are; every change is noted in its layer.
    """
    result = dict(layers)
    for step in Step:
        organs = [
            organ for organ, layer in result.items() if layer.origin == Origin.AI and step in policy.steps_of(organ)
        ]
        for organ, mask in STEPS[step](organs, result, grid):
            result[organ] = result[organ].changed(Kind[step.name], mask)
    return result
