"""Reducers: Tokens -> fewer Tokens. `REDUCERS` is what a config can name."""

from trajvit.reducers.aot import Aot
from trajvit.reducers.attention_pool import AttentionPool, PerceiverPool
from trajvit.reducers.average_pool import AveragePool
from trajvit.reducers.blip3 import Blip3
from trajvit.reducers.center_clip import CenterClip
from trajvit.reducers.dart_dup import DartDup
from trajvit.reducers.dtd import Dtd
from trajvit.reducers.dtome import DToMe
from trajvit.reducers.dycoke import DyCoke
from trajvit.reducers.early_tom import EarlyTom
from trajvit.reducers.evad import Evad
from trajvit.reducers.evs import Evs
from trajvit.reducers.fastvid import FastVid
from trajvit.reducers.flashvid import FlashVid
from trajvit.reducers.framefusion import FrameFusion
from trajvit.reducers.hiprune import HiPrune
from trajvit.reducers.holitom import HoliTom
from trajvit.reducers.idpruner import IdPruner
from trajvit.reducers.laco import LaCo
from trajvit.reducers.linvt import LinVT
from trajvit.reducers.llava_scissor import LlavaScissor
from trajvit.reducers.matryoshka import Matryoshka
from trajvit.reducers.parcel import Parcel
from trajvit.reducers.ppe import Ppe
from trajvit.reducers.prunevid import PruneVid
from trajvit.reducers.pvc import Pvc
from trajvit.reducers.representation_shift import RepresentationShift
from trajvit.reducers.select import FirstK, RandomK, UniformK
from trajvit.reducers.sttm import Sttm
from trajvit.reducers.stts import Stts
from trajvit.reducers.stts_scores import SttsScores
from trajvit.reducers.tempme import TempMe
from trajvit.reducers.testa import TESTA
from trajvit.reducers.todre import ToDre
from trajvit.reducers.token_flex import TokenFlex
from trajvit.reducers.token_learner import TokenLearner
from trajvit.reducers.tome import ToMe
from trajvit.reducers.vid_tldr import VidTLDR
from trajvit.reducers.vqtoken import VqToken
from trajvit.reducers.vtm import VTM
from trajvit.table import Table

REDUCERS = Table(
  "reducer",
  {
    "aot": Aot,
    "attention_pool": AttentionPool,
    "average_pool": AveragePool,
    "blip3": Blip3,
    "center_clip": CenterClip,
    "dart_dup": DartDup,
    "dtd": Dtd,
    "dtome": DToMe,
    "dycoke": DyCoke,
    "early_tom": EarlyTom,
    "evad": Evad,
    "evs": Evs,
    "fastvid": FastVid,
    "first_k": FirstK,
    "flashvid": FlashVid,
    "framefusion": FrameFusion,
    "hiprune": HiPrune,
    "holitom": HoliTom,
    "idpruner": IdPruner,
    "laco": LaCo,
    "linvt": LinVT,
    "llava_scissor": LlavaScissor,
    "matryoshka": Matryoshka,
    "parcel": Parcel,
    "perceiver": PerceiverPool,
    "ppe": Ppe,
    "prunevid": PruneVid,
    "pvc": Pvc,
    "random_k": RandomK,
    "representation_shift": RepresentationShift,
    "sttm": Sttm,
    "stts": Stts,
    "stts_scores": SttsScores,
    "tempme": TempMe,
    "testa": TESTA,
    "todre": ToDre,
    "token_flex": TokenFlex,
    "token_learner": TokenLearner,
    "tome": ToMe,
    "uniform_k": UniformK,
    "vid_tldr": VidTLDR,
    "vqtoken": VqToken,
    "vtm": VTM,
  },
)
