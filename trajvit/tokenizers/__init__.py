"""Tokenizers: Clip -> Tokens. `TOKENIZERS` is what a config can name."""

from trajvit.table import Table
from trajvit.tokenizers.dart import DartTokenizer
from trajvit.tokenizers.dtd import DtdTokenizer
from trajvit.tokenizers.evs import EvsTokenizer
from trajvit.tokenizers.grt import GrtTokenizer
from trajvit.tokenizers.object_tokens import ObjectTokenizer
from trajvit.tokenizers.recurrent import RecurrentTokenizer
from trajvit.tokenizers.registers import RegisterTokenizer
from trajvit.tokenizers.run_length import RunLengthTokenizer
from trajvit.tokenizers.semantic import SemanticTokenizer
from trajvit.tokenizers.slots import SlotTokenizer
from trajvit.tokenizers.subobject import SubobjectTokenizer
from trajvit.tokenizers.trajectory import TrajectoryTokenizer
from trajvit.tokenizers.trajectory_light import TrajectoryLightTokenizer
from trajvit.tokenizers.trajtok import trajtok
from trajvit.tokenizers.tubelet import TubeletTokenizer
from trajvit.tokenizers.vwt import VwtInterTokenizer, VwtIntraTokenizer

TOKENIZERS = Table(
  "tokenizer",
  {
    "alit": RecurrentTokenizer,
    "dart": DartTokenizer,
    "dtd": DtdTokenizer,
    "evs": EvsTokenizer,
    "grt": GrtTokenizer,
    "object_tokens": ObjectTokenizer,
    "registers": RegisterTokenizer,
    "run_length": RunLengthTokenizer,
    "semantic": SemanticTokenizer,
    "slots": SlotTokenizer,
    "subobject": SubobjectTokenizer,
    "trajectory": TrajectoryTokenizer,
    "trajectory_light": TrajectoryLightTokenizer,
    "trajtok": trajtok,
    "tubelet": TubeletTokenizer,
    "vwt_inter": VwtInterTokenizer,
    "vwt_intra": VwtIntraTokenizer,
  },
)
